"""The configuration as sessions use it: compiled, immutable, and replaced as a whole.

A session keeps the snapshot that it was admitted under. A reload makes a new one; nothing is
changed in place.
"""

from __future__ import annotations

import datetime
import hmac
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import attrs

from relayd.config.accounts import Transport, UpstreamMode
from relayd.config.keys import BusyLane, Recovery, Role
from relayd.config.networks import Network, is_within
from relayd.config.patterns import Patterns
from relayd.config.pricebook import PriceBook
from relayd.config.providers import Dialect, Provider
from relayd.config.proxy import Proxy
from relayd.config.schema import OPENAI_BASE_URL, BudgetPeriod, Settings, Timeouts
from relayd.config.secret import Secret, digest
from relayd.config.spark import ChatDefaults, SparkSettings
from relayd.config.spark_choice import base_url_of
from relayd.config.url import Url, parse_base_url
from relayd.config.xiaozhi import DeviceServerSettings
from relayd.core.money import nano_of

if TYPE_CHECKING:
    from relayd.config.schema import AccountSettings, KeySettings


@attrs.frozen(kw_only=True)
class Key:
    """A client's key.

    Attributes:
        digest: SHA-256 of the secret, 32 bytes. The secret itself is not kept.
        models: Patterns of the models it may ask for.
        dialects: Patterns of the dialects it may speak.
        expires: When it stops to be valid, in UTC; ``None``: never.
        allowed_ips: Where it may be used from; empty: anywhere.
        sessions_max: Sessions at once; 0 for no limit, here and in the next three.
        requests_per_minute: Turns that may begin in a minute.
        tokens_per_minute: Tokens in a minute, input and output together.
        budget_nano: Nano-dollars that it may cost in a ``budget_period``.
        price_factor: What prices are multiplied by.
        websocket: Whether it may upgrade in the responses dialect.
        busy_lane: What a request does in a lane where another one is running.
        recovery: What may be changed in a request to make it succeed.
        role: What it may do in the event hub.
    """

    name: str
    tenant: str
    digest: bytes = attrs.field(repr=False)
    enabled: bool = True
    models: tuple[str, ...] = ("*",)
    dialects: tuple[str, ...] = ("*",)
    expires: datetime.datetime | None = None
    allowed_ips: tuple[Network, ...] = ()
    sessions_max: int = 0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    budget_nano: int = 0
    budget_period: BudgetPeriod = BudgetPeriod.MONTH
    price_factor: Decimal = Decimal(1)
    websocket: bool = True
    busy_lane: BusyLane = BusyLane.QUEUE
    recovery: Recovery = Recovery.NONE
    role: Role = Role.USER
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
            expires=settings.expires,
            allowed_ips=settings.allowed_ips,
            sessions_max=settings.sessions_max,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            budget_nano=nano_of(settings.budget_usd),
            budget_period=settings.budget_period,
            price_factor=settings.price_factor,
            websocket=settings.websocket,
            busy_lane=settings.busy_lane,
            recovery=settings.recovery,
            role=settings.role,
        )

    def permits_model(self, model: str) -> bool:
        """Whether the key may ask for ``model``, as the client names it."""
        return self._model_patterns.matches(model)

    def permits_dialect(self, dialect: str) -> bool:
        """Whether the key may speak ``dialect``."""
        return self._dialect_patterns.matches(dialect)

    def permits_address(self, address: str) -> bool:
        """Whether the key may be used from ``address``.

        What is no IP address, as of a Unix socket's peer, is permitted only to a key without
        ``allowed_ips``.
        """
        return not self.allowed_ips or is_within(address, self.allowed_ips)

    def has_expired(self, wall: float) -> bool:
        """Whether the key is no longer valid at ``wall``, in seconds since the epoch."""
        return self.expires is not None and wall >= self.expires.timestamp()


@attrs.frozen(kw_only=True)
class Account:
    """An upstream, and what relayd presents there.

    Attributes:
        base_url: ``None`` only for a simulated upstream that has not been started yet.
        model_map: Names that clients ask for, and what the upstream calls them.
        headers: Added to upstream requests. Hidden from ``repr``: a value may be a key.
        sessions_max: Sessions at once; 0 for no limit.
        websocket: How the responses dialect uses it.
        lanes: Whether a socket of that dialect runs several responses at once.
        transport: How the chat dialect reaches it.
        spark: Its application, where it is one of iFlytek's.
        xiaozhi: How devices are served, where it is a server of them.
        defaults: What a chat request gets where it is silent.
        proxy: What the upstream is reached through; ``None``: nothing.
        allow_private: Whether a name may lead to an address that is not public.
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
    websocket: UpstreamMode = UpstreamMode.POOL
    lanes: bool = attrs.Factory(lambda self: self.provider.has_lanes, takes_self=True)
    transport: Transport = Transport.WS
    spark: SparkSettings | None = None
    xiaozhi: DeviceServerSettings = attrs.field(factory=DeviceServerSettings)
    defaults: ChatDefaults = attrs.field(factory=ChatDefaults)
    proxy: Proxy | None = None
    allow_private: bool = False
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
        if base_url is None and settings.provider is Provider.SPARK and settings.spark is not None:
            base_url = base_url_of(settings.spark)
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
            websocket=settings.websocket,
            lanes=settings.provider.has_lanes if settings.lanes is None else settings.lanes,
            transport=settings.transport,
            spark=settings.spark,
            xiaozhi=settings.xiaozhi,
            defaults=settings.defaults,
            proxy=settings.proxy,
            allow_private=settings.allow_private,
            tls_ca=settings.tls_ca,
            timeouts=settings.timeouts,
        )

    def speaks(self, dialect: str) -> bool:
        """Whether sessions of ``dialect`` may go here. Does not look at ``enabled``."""
        if dialect == Dialect.RESPONSES and self.websocket is UpstreamMode.OFF:
            return False
        return dialect in self.provider.dialects

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
        prices: What models cost.
        directory: Where the configuration file is.
        file: The configuration file; ``None`` where there is none.
    """

    settings: Settings
    keys: Mapping[bytes, Key] = attrs.field(hash=False, repr=False)
    accounts: tuple[Account, ...]
    prices: PriceBook = attrs.field(factory=PriceBook)
    directory: Path = Path()
    file: Path | None = None
    _by_name: Mapping[str, Account] = attrs.field(init=False, eq=False, repr=False)

    @_by_name.default
    def _named(self) -> Mapping[str, Account]:
        return {account.name: account for account in self.accounts}

    @classmethod
    def of(
        cls, settings: Settings, *, directory: Path | None = None, file: Path | None = None
    ) -> Self:
        """Compile ``settings``, which are free of mistakes."""
        keys = (key for each in settings.keys if (key := Key.of(each)) is not None)
        return cls(
            settings=settings,
            keys=MappingProxyType({key.digest: key for key in keys}),
            accounts=tuple(map(Account.of, settings.accounts)),
            prices=settings.prices,
            directory=directory or Path(),
            file=file,
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
