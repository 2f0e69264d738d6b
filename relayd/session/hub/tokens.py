"""JSON Web Tokens that clients of the hub may come with (RFC 7519): verified, then read.

Which algorithm goes with which key is configured here and never taken from a token, and ``none``
is no algorithm (RFC 8725 sections 2.1 and 3.1). Nothing of a token is believed, and none of its
claims is looked at, before its signature is found good.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import attrs
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from relayd.config.hub import HubSettings
from relayd.config.kinds import name_mistake
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_topics import SELECTORS_MAX, Selector, parse_selector

TOKEN_MAX_BYTES: Final = 8192
"""A longer one is not parsed. Real ones have a few hundred."""

LEEWAY_S: Final = 30.0
"""By how much the clock of who signs may differ from this one."""

SUBJECT_MAX_CHARS: Final = 128

# RFC 7515 section 3.1: three times base64url.
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_JWS: Final = jwt.PyJWS(algorithms=["HS256", "RS256"])

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
_Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=SUBJECT_MAX_CHARS)]
_Topics = Annotated[list[_Text], msgspec.Meta(max_length=SELECTORS_MAX)]
_Moment = Annotated[float, msgspec.Meta(ge=0, le=2**53)]


class _Payload(msgspec.Struct):
    """The claims that mean something here; a token may have others."""

    sub: _Subject
    exp: _Moment
    nbf: _Moment = 0.0
    iss: str | None = None
    aud: str | list[str] | None = None
    tenant: str | None = None
    topics: _Topics | None = None
    publish: _Topics = []


@attrs.frozen(kw_only=True)
class Claims:
    """What a good token says.

    Attributes:
        subject: Who it was made for.
        tenant: Whose events it opens.
        expires_at: In seconds since the epoch; the leeway is not in it.
        topics: What it may follow; ``None``: all of its tenant.
        publish: Where it may publish.
    """

    subject: str
    tenant: str
    expires_at: float
    topics: tuple[Selector, ...] | None = None
    publish: tuple[Selector, ...] = ()


def looks_like_token(presented: str) -> bool:
    """Whether what was presented has the outer form of a token; it may be a key all the same."""
    return _SHAPE.fullmatch(presented) is not None


@attrs.frozen(kw_only=True)
class Tokens:
    """What tokens are verified with.

    Attributes:
        issuer: What ``iss`` has to be; ``None``: anything.
        audience: What ``aud`` has to name. ``None``: a token that names one is for somebody else
            (RFC 7519 section 4.1.3).
        tenant: Whose all tokens are; ``None``: each names its own.
    """

    keys: tuple[tuple[str, str | RSAPublicKey], ...] = attrs.field(repr=False)
    issuer: str | None = None
    audience: str | None = None
    tenant: str | None = None

    @classmethod
    def of(cls, settings: HubSettings) -> Tokens | None:
        """What ``[hub]`` says; ``None`` where no token opens anything.

        The settings are free of mistakes: the keys are of the right kind and long enough.
        """
        keys: list[tuple[str, str | RSAPublicKey]] = []
        if settings.jwt_hs256_secret is not None:
            keys.append(("HS256", settings.jwt_hs256_secret.reveal()))
        if settings.jwt_rs256_public_key is not None:
            public = load_pem_public_key(settings.jwt_rs256_public_key.encode())
            assert isinstance(public, RSAPublicKey), "the settings were checked"
            keys.append(("RS256", public))
        if not keys:
            return None
        return cls(
            keys=tuple(keys),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            tenant=settings.jwt_tenant,
        )

    def verify(self, token: str, wall: float) -> Claims | Refusal:
        """What ``token`` says, or why it opens nothing. Never repeats anything of it.

        Args:
            token: As it was presented.
            wall: Seconds since the epoch.

        Returns:
            The claims; else a refusal, ``key_expired`` for a token that was good once and
            ``invalid_api_key`` for everything else.
        """
        if len(token) > TOKEN_MAX_BYTES or not looks_like_token(token):
            return _invalid("it is none, or too long")
        payload = self._payload(token)
        if payload is None:
            return _invalid("its signature does not fit")
        try:
            said = msgspec.json.decode(payload, type=_Payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _invalid(
                "its claims are no JSON object with sub, exp and, if at all, tenant, topics and"
                f" publish; lists have up to {SELECTORS_MAX} entries"
            )
        return self._check_times(said, wall) or self._check_parties(said) or self._claims(said)

    def _payload(self, token: str) -> bytes | None:
        """What was signed, if it was signed with one of the keys and its own algorithm."""
        for algorithm, key in self.keys:
            try:
                return bytes(_JWS.decode(token, key, algorithms=[algorithm]))
            except jwt.PyJWTError:
                continue  # signed with the other one, or by somebody else
            except RecursionError:
                return None  # its header, which is parsed first, is nested without end
        return None

    def _check_times(self, said: _Payload, wall: float) -> Refusal | None:
        if wall >= said.exp + LEEWAY_S:
            message = "This token has expired. Ask who issued it for another."
            return Refusal(RefusalCode.KEY_EXPIRED, message)
        if wall < said.nbf - LEEWAY_S:
            return _invalid("it is not valid yet")
        return None

    def _check_parties(self, said: _Payload) -> Refusal | None:
        if self.issuer is not None and said.iss != self.issuer:
            return _invalid("its iss is not what hub.jwt_issuer says")
        audiences = [said.aud] if isinstance(said.aud, str) else said.aud or []
        if self.audience is None and audiences:
            return _invalid("it is for an audience, and hub.jwt_audience says none")
        if self.audience is not None and self.audience not in audiences:
            return _invalid("its aud does not name what hub.jwt_audience says")
        return None

    def _claims(self, said: _Payload) -> Claims | Refusal:
        if not said.sub.isprintable():
            return _invalid("its sub has characters that cannot be printed")
        tenant = self.tenant or said.tenant
        if self.tenant is not None and said.tenant not in {None, self.tenant}:
            return _invalid("it names another tenant than hub.jwt_tenant")
        if tenant is None or name_mistake(tenant) is not None:
            return _invalid("it names no tenant")
        topics = None if said.topics is None else _selectors(said.topics)
        publish = _selectors(said.publish)
        if publish is None or (said.topics is not None and topics is None):
            return _invalid("its topics or publish hold what matches no topic")
        return Claims(
            subject=said.sub,
            tenant=tenant,
            expires_at=said.exp,
            topics=topics,
            publish=publish,
        )


def _selectors(texts: list[str]) -> tuple[Selector, ...] | None:
    found = tuple(selector for text in texts if (selector := parse_selector(text)) is not None)
    return found if len(found) == len(texts) else None


def _invalid(why: str) -> Refusal:
    return Refusal(
        RefusalCode.INVALID_API_KEY,
        f"The token is not valid here: {why}.",
        headers=(("WWW-Authenticate", 'Bearer error="invalid_token"'),),
    )
