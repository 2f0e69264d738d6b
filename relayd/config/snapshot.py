"""The configuration as sessions use it: compiled, immutable, and replaced as a whole.

A session keeps the snapshot that it was admitted under. A reload makes a new one; nothing is
changed in place.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import attrs

from relayd.config.patterns import Patterns
from relayd.config.providers import Provider
from relayd.config.schema import OPENAI_BASE_URL, Settings, Timeouts
from relayd.config.secret import Secret, digest
from relayd.config.url import Url, parse_base_url

if TYPE_CHECKING:
    from relayd.config.schema import AccountSettings, KeySettings


@attrs.frozen(kw_only=True)
class Key:
    """A client's key.

    Attributes:
        digest: SHA-256 of the secret, 32 bytes. The secret itself is not kept.
        models: Patterns of the models it may ask for.
        dialects: Patterns of the dialects it may speak.
    """

    name: str
    tenant: str
    digest: bytes = attrs.field(repr=False)
    enabled: bool = True
    models: tuple[str, ...] = ("*",)
    dialects: tuple[str, ...] = ("*",)
    _model_patterns: Patterns = attrs.field(init=False, eq=False, repr=False)
    _dialect_patterns: Patterns = attrs.field(init=False, eq=False, repr=False)

    @_model_patterns.default
    def _compiled_models(self) -> Patterns:
        return Patterns.of(self.models)

    @_dialect_patterns.default
    def _compiled_dialects(self) -> Patterns:
        return Patterns.of(self.dialects)

    @classmethod
    def of(cls, settings: KeySettings) -> Self | None:
        """The key of one ``[[keys]]`` table; ``None`` without a secret, when nothing matches it."""
        if settings.secret is None:
            return None
        return cls(
            name=settings.name,
            tenant=settings.tenant,
            digest=settings.secret.sha256,
            enabled=settings.enabled,
            models=settings.models,
            dialects=settings.dialects,
        )

    def permits_model(self, model: str) -> bool:
        """Whether the key may ask for ``model``, as the client names it."""
        return self._model_patterns.matches(model)

    def permits_dialect(self, dialect: str) -> bool:
        """Whether the key may speak ``dialect``."""
        return self._dialect_patterns.matches(dialect)


@attrs.frozen(kw_only=True)
class Account:
    """An upstream, and what relayd presents there.

    Attributes:
        base_url: ``None`` only for a simulated upstream that has not been started yet.
        model_map: Names that clients ask for, and what the upstream calls them.
        headers: Added to upstream requests. Hidden from ``repr``: a value may be a key.
        sessions_max: Sessions at once; 0 for no limit.
        tls_ca: The path of a PEM file to trust beside the system's store.
    """

    name: str
    provider: Provider = attrs.field(converter=Provider)
    base_url: Url | None = None
    api_key: Secret | None = None
    models: tuple[str, ...] = ("*",)
    model_map: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}), hash=False)
    headers: Mapping[str, str] = attrs.field(
        factory=lambda: MappingProxyType({}), hash=False, repr=False
    )
    enabled: bool = True
    priority: int = 0
    weight: int = 100
    sessions_max: int = 0
    tls_ca: str | None = None
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    _patterns: Patterns = attrs.field(init=False, eq=False, repr=False)

    @_patterns.default
    def _compiled(self) -> Patterns:
        return Patterns.of((*self.models, *self.model_map))

    @classmethod
    def of(cls, settings: AccountSettings) -> Self:
        """The account of one ``[[accounts]]`` table.

        Raises:
            ValueError: For a ``base_url`` that was not read by the schema's rule.
        """
        base_url = settings.base_url
        if base_url is None and settings.provider is Provider.OPENAI:
            base_url = OPENAI_BASE_URL
        return cls(
            name=settings.name,
            provider=settings.provider,
            base_url=None if base_url is None else parse_base_url(base_url),
            api_key=settings.api_key,
            models=settings.models,
            model_map=settings.model_map,
            headers=settings.headers,
            enabled=settings.enabled,
            priority=settings.priority,
            weight=settings.weight,
            sessions_max=settings.sessions_max,
            tls_ca=settings.tls_ca,
            timeouts=settings.timeouts,
        )

    def serves(self, model: str) -> bool:
        """Whether sessions that ask for ``model`` may go here. Does not look at ``enabled``."""
        return self._patterns.matches(model)

    def upstream_model(self, model: str) -> str:
        """What the upstream calls ``model``."""
        return self.model_map.get(model, model)


@attrs.frozen(kw_only=True)
class Snapshot:
    """A whole configuration at one moment.

    Attributes:
        settings: As they were read.
        keys: By digest, the disabled ones among them.
        accounts: In the order of the file, the disabled ones among them.
        directory: Where the configuration file is.
    """

    settings: Settings
    keys: Mapping[bytes, Key] = attrs.field(hash=False, repr=False)
    accounts: tuple[Account, ...]
    directory: Path = Path()
    _by_name: Mapping[str, Account] = attrs.field(init=False, eq=False, repr=False)

    @_by_name.default
    def _named(self) -> Mapping[str, Account]:
        return {account.name: account for account in self.accounts}

    @classmethod
    def of(cls, settings: Settings, *, directory: Path | None = None) -> Self:
        """Compile ``settings``, which are free of mistakes."""
        keys = (key for each in settings.keys if (key := Key.of(each)) is not None)
        return cls(
            settings=settings,
            keys=MappingProxyType({key.digest: key for key in keys}),
            accounts=tuple(map(Account.of, settings.accounts)),
            directory=directory or Path(),
        )

    def key_for(self, presented: str | bytes) -> Key | None:
        """The key whose secret was presented, whether enabled or not.

        The time this takes tells nothing about the secrets: only digests are compared.
        """
        presented_digest = digest(presented)
        key = self.keys.get(presented_digest)
        if key is not None and hmac.compare_digest(key.digest, presented_digest):
            return key
        return None

    def account_named(self, name: str) -> Account | None:
        """The account that ``/relay/{account}`` names, whether enabled or not."""
        return self._by_name.get(name)
