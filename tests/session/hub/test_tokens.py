from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.hub import HubSettings
from relayd.config.secret import Secret
from relayd.core.refusals import Refusal, RefusalCode
from relayd.session.hub.tokens import (
    LEEWAY_S,
    TOKEN_MAX_BYTES,
    Claims,
    Tokens,
    looks_like_token,
)
from tests.session.hub.signing import NOW, OTHER_SECRET, SECRET, private_key, public_pem, token

HS256 = HubSettings(jwt_hs256_secret=Secret(SECRET))


def tokens(**settings: Any) -> Tokens:  # noqa: ANN401 - any of the settings
    made = Tokens.of(attrs.evolve(HS256, **settings))
    assert made is not None
    return made


def good(answer: Claims | Refusal) -> Claims:
    assert isinstance(answer, Claims), answer
    return answer


def refused(answer: Claims | Refusal) -> str:
    """Why a token is refused: what is said of it, for a bad one."""
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.INVALID_API_KEY
    assert answer.status == 401
    return answer.message.removeprefix("The token is not valid here: ")


def encoded(said: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()


def test_without_a_key_no_token_opens_anything() -> None:
    assert Tokens.of(HubSettings()) is None


def test_a_good_token_is_read() -> None:
    claims = good(tokens().verify(token(topics=["session:*"], publish=["workflow:w1"]), NOW))
    assert (claims.subject, claims.tenant, claims.expires_at) == ("alice", "acme", NOW + 300)
    assert claims.topics is not None
    assert [each.text for each in claims.topics] == ["session:*"]
    assert [each.text for each in claims.publish] == ["workflow:w1"]


def test_a_token_that_is_silent_follows_all_and_publishes_nothing() -> None:
    claims = good(tokens().verify(token(), NOW))
    assert (claims.topics, claims.publish) == (None, ())


def test_no_topics_are_not_all_of_them() -> None:
    assert good(tokens().verify(token(topics=[]), NOW)).topics == ()


def test_a_public_key_verifies() -> None:
    only_rsa = Tokens.of(HubSettings(jwt_rs256_public_key=public_pem()))
    assert only_rsa is not None
    signed = token(algorithm="RS256", key=private_key())
    assert good(only_rsa.verify(signed, NOW)).subject == "alice"
    assert refused(only_rsa.verify(token(), NOW)) == "its signature does not fit."


def test_both_kinds_of_keys_may_be_in_use() -> None:
    both = tokens(jwt_rs256_public_key=public_pem())
    good(both.verify(token(), NOW))
    good(both.verify(token(algorithm="RS256", key=private_key()), NOW))


@pytest.mark.parametrize(
    "forged",
    [
        token(OTHER_SECRET),
        token(algorithm="none", secret="", key=None),
        token(algorithm="HS512", key=SECRET),
        f"{encoded({'alg': 'none'})}.{encoded({'sub': 'a', 'exp': NOW + 9})}.AAAA",
        f"{encoded({'alg': ['HS256']})}.{encoded({'sub': 'a', 'exp': NOW + 9})}.AAAA",
        f"{encoded(['HS256'])}.{encoded({})}.AAAA",
        f"{base64.urlsafe_b64encode(b'[' * 3000).rstrip(b'=').decode()}.e30.AAAA",
        f"{encoded({'alg': 'HS256', 'n': 10})[:-2]}.e30.AAAA",
        "eyJ.e30.AAAA",
        token()[:-2],
        token().replace(".", ". ", 1),
        "",
        "no token",
        "a" * TOKEN_MAX_BYTES + ".a.a",
    ],
)
def test_what_was_not_signed_with_the_key_is_refused(forged: str) -> None:
    refused(tokens().verify(forged, NOW))


def test_the_public_key_is_no_secret() -> None:
    """RFC 8725 section 2.1: signing with the public key as if it were HS256's secret."""
    both = tokens(jwt_rs256_public_key=public_pem())
    header, body = encoded({"alg": "HS256", "typ": "JWT"}), encoded({"sub": "a", "exp": NOW + 9})
    mac = hmac.digest(public_pem().encode(), f"{header}.{body}".encode(), hashlib.sha256)
    signed = f"{header}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert refused(both.verify(signed, NOW)) == "its signature does not fit."


@pytest.mark.parametrize("long", [TOKEN_MAX_BYTES // 2, TOKEN_MAX_BYTES])
def test_a_long_token_is_not_parsed(long: int) -> None:
    answer = tokens().verify(token(padding="x" * long), NOW)
    if long < TOKEN_MAX_BYTES:
        good(answer)
    else:
        assert refused(answer) == "it is none, or too long."


def test_a_token_expires_with_some_leeway() -> None:
    made = token(exp=NOW)
    good(tokens().verify(made, NOW + LEEWAY_S - 0.001))
    late = tokens().verify(made, NOW + LEEWAY_S)
    assert isinstance(late, Refusal)
    assert late.code is RefusalCode.KEY_EXPIRED


def test_a_token_begins_with_some_leeway() -> None:
    made = token(nbf=NOW)
    good(tokens().verify(made, NOW - LEEWAY_S))
    assert refused(tokens().verify(made, NOW - LEEWAY_S - 0.001)) == "it is not valid yet."


@pytest.mark.parametrize("claim", ["sub", "exp"])
def test_what_a_token_must_say(claim: str) -> None:
    assert "sub, exp" in refused(tokens().verify(token(without=(claim,)), NOW))


@pytest.mark.parametrize(
    "said",
    [
        {"sub": 7},
        {"sub": ""},
        {"sub": "x" * 129},
        {"sub": "a\nb"},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": -1},
        {"topics": "session:*"},
        {"topics": ["no topic"]},
        {"topics": ["session:x"] * 129},
        {"topics": [7]},
        {"publish": ["session:a b"]},
        {"publish": {"session": "a"}},
        {"tenant": ""},
        {"tenant": "a b"},
        {"tenant": None},
    ],
)
def test_claims_of_another_form_are_refused(said: dict[str, Any]) -> None:
    refused(tokens().verify(token(**said), NOW))


def test_an_issuer_is_checked_where_one_is_configured() -> None:
    strict = tokens(jwt_issuer="https://app.example")
    good(strict.verify(token(iss="https://app.example"), NOW))
    for wrong in (token(iss="https://app.example/"), token()):
        assert "hub.jwt_issuer" in refused(strict.verify(wrong, NOW))
    good(tokens().verify(token(iss="anybody"), NOW))


def test_an_audience_has_to_be_this_one() -> None:
    strict = tokens(jwt_audience="relayd")
    good(strict.verify(token(aud="relayd"), NOW))
    good(strict.verify(token(aud=["other", "relayd"]), NOW))
    for wrong in (token(aud="other"), token(aud=[]), token()):
        assert "hub.jwt_audience" in refused(strict.verify(wrong, NOW))
    assert "hub.jwt_audience" in refused(tokens().verify(token(aud="other"), NOW))


def test_the_tenant_of_the_configuration_is_the_only_one() -> None:
    fixed = tokens(jwt_tenant="acme")
    assert good(fixed.verify(token(without=("tenant",)), NOW)).tenant == "acme"
    assert good(fixed.verify(token(tenant="acme"), NOW)).tenant == "acme"
    assert refused(fixed.verify(token(tenant="other"), NOW)).startswith("it names another tenant")


def test_nothing_of_a_token_or_of_the_keys_is_repeated() -> None:
    checked = tokens(jwt_rs256_public_key=public_pem())
    assert SECRET not in repr(checked)
    made = token(OTHER_SECRET, sub="canary")
    assert "canary" not in str(checked.verify(made, NOW))
    assert made not in str(checked.verify(made, NOW))


@given(st.text(max_size=60) | st.from_regex(r"\A[\w-]{1,40}\.[\w-]{1,40}\.[\w-]{0,9}\Z"))
def test_any_text_gets_an_answer(text: str) -> None:
    refused(tokens().verify(text, NOW))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "exp", "nbf", "iss", "aud", "tenant", "topics", "publish"]), VALUES
    )
)
def test_any_signed_claims_get_an_answer(said: dict[str, Any]) -> None:
    assert tokens().verify(token(**said), NOW) is not None


def test_the_form_of_a_token() -> None:
    assert looks_like_token(token())
    assert not looks_like_token("rk_abc.def")
