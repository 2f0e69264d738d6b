"""What only several settings together can get wrong.

A check looks at values that are each right by themselves. It names every setting it is about, so
that its complaint is dropped where one of them is mistaken anyway: it would only be a consequence.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from relayd.config.accounts import Transport
from relayd.config.address import TcpAddress, parse_address
from relayd.config.files import certificate_mistake
from relayd.config.kinds import UNIX_PEER
from relayd.config.mistakes import Mistake, key_path
from relayd.config.providers import Provider
from relayd.config.spark_choice import mistake_in
from relayd.config.xiaozhi import DeviceServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from relayd.config.schema import (
        AccountSettings,
        KeySettings,
        LimitSettings,
        ServerSettings,
        Settings,
    )

T = TypeVar("T")

_NEEDS_BASE_URL: Final = {
    Provider.COMPATIBLE: "https://host/v1",
    Provider.WEBSOCKET: "wss://host/path",
    Provider.RUNTASK: "wss://host/api-ws/v1/inference",
    Provider.XIAOZHI: "wss://host/xiaozhi/v1/",
}


@attrs.frozen
class Clash:
    """Settings that do not go together.

    Attributes:
        mistake: What to say, at the setting to change.
        also: The paths of the other settings that it is about.
    """

    mistake: Mistake
    also: tuple[str, ...] = ()

    def follows_from(self, mistakes: Iterable[Mistake]) -> bool:
        """Whether one of the settings, or the table that holds it, is mistaken by itself."""
        about = (self.mistake.path, *self.also)
        return any(
            _is_within(mistake.path, path) or _is_within(path, mistake.path)
            for mistake in mistakes
            for path in about
        )


def clashes(settings: Settings) -> Iterator[Clash]:
    """Everything in ``settings`` that does not go together, in the order of the file."""
    yield from _server(settings.server)
    yield from _limits(settings.limits)
    for index, key in enumerate(settings.keys):
        if key.enabled and key.secret is None:
            message = "missing; an enabled key needs one (`relayd key new NAME` makes it)"
            yield Clash(Mistake(f"keys[{index}].secret", message), (f"keys[{index}].enabled",))
    yield from _repeated(settings.keys, "keys[{}].name", lambda key: key.name)
    yield from _repeated(settings.keys, "keys[{}].secret", _sha256)
    for index, account in enumerate(settings.accounts):
        yield from _account(account, f"accounts[{index}]")
    yield from _repeated(settings.accounts, "accounts[{}].name", lambda account: account.name)
    yield from _devices(settings)


def unpriced_budgets(settings: Settings) -> Iterator[Clash]:
    """Keys with a budget where no model has a price, once the prices were read."""
    if settings.prices.prices:
        return
    for index, key in enumerate(settings.keys):
        if key.enabled and key.budget_usd:
            message = (
                "there are no prices, and a key with a budget is refused every model without one;"
                " name a prices file in ledger.prices, or leave the budget out"
            )
            path = f"keys[{index}]"
            yield Clash(Mistake(f"{path}.budget_usd", message), (f"{path}.enabled",))


def is_wildcard(address: TcpAddress) -> bool:
    """Whether it stands for all addresses of a host: ``0.0.0.0``, ``[::]`` and its mapped form."""
    try:
        ip = ipaddress.ip_address(address.host)
    except ValueError:  # a name
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_unspecified


def _server(server: ServerSettings) -> Iterator[Clash]:
    admin = parse_address(server.admin)
    listen = [parse_address(text) for text in server.listen]
    for index, address in enumerate(listen):
        if isinstance(address, TcpAddress) and address.port == 0:
            continue  # each gets a port of its own
        if address in listen[:index]:
            message = f"repeats server.listen[{listen.index(address)}]; remove one of them"
            yield Clash(Mistake(f"server.listen[{index}]", message))
        if address == admin:
            message = f"repeats server.listen[{index}]; the admin listener needs its own address"
            yield Clash(Mistake("server.admin", message), (f"server.listen[{index}]",))
    if isinstance(admin, TcpAddress) and is_wildcard(admin):
        message = (
            "is every address of this host; name one that requests can be sent to, such as"
            f' "127.0.0.1:{admin.port}", since the admin listener answers under its own address'
            " alone"
        )
        yield Clash(Mistake("server.admin", message))
    if isinstance(admin, TcpAddress) and server.admin_token is None:
        message = 'required, since server.admin is on TCP; set one, or use "unix:/path" for admin'
        yield Clash(Mistake("server.admin_token", message), ("server.admin",))
    if (
        server.proxy_protocol
        and any(isinstance(address, TcpAddress) for address in listen)
        and all(proxy == UNIX_PEER for proxy in server.trusted_proxies)
    ):
        message = (
            "needs the proxies' addresses in server.trusted_proxies, since server.listen has TCP"
            " addresses; without them every connection there would be refused"
        )
        also = ("server.trusted_proxies", "server.listen")
        yield Clash(Mistake("server.proxy_protocol", message), also)
    if server.tls and (
        cause := certificate_mistake(server.tls.certificate, server.tls.private_key)
    ):
        yield Clash(Mistake("server.tls", cause))


def _limits(limits: LimitSettings) -> Iterator[Clash]:
    if limits.keepalive_timeout_s <= limits.keepalive_s:
        message = (
            f"must be longer than limits.keepalive_s, which is {limits.keepalive_s:g};"
            " else a peer is given up before it could answer a ping"
        )
        yield Clash(Mistake("limits.keepalive_timeout_s", message), ("limits.keepalive_s",))


def _account(account: AccountSettings, path: str) -> Iterator[Clash]:
    provider = account.provider
    if example := _NEEDS_BASE_URL.get(provider) if account.base_url is None else None:
        message = f'missing; provider "{provider}" needs one, such as "{example}"'
        yield Clash(Mistake(f"{path}.base_url", message), (f"{path}.provider",))
    if provider.is_simulated and account.base_url is not None:
        message = f'remove it; relayd starts the upstream of provider "{provider}" itself'
        yield Clash(Mistake(f"{path}.base_url", message), (f"{path}.provider",))
    if provider.is_simulated and account.proxy is not None:
        message = f'remove it; the upstream of provider "{provider}" runs in relayd itself'
        yield Clash(Mistake(f"{path}.proxy", message), (f"{path}.provider",))
    yield from _spark(account, path)
    seen = set[str]()
    for name in account.headers:
        if name.lower() in seen:
            message = "repeats a header, since case does not count; keep one of them"
            yield Clash(Mistake(f"{path}.headers.{key_path(name)}", message))
        seen.add(name.lower())
    if "authorization" in seen and account.api_key is not None:
        message = "carries an Authorization header, which api_key sets as well; remove one"
        yield Clash(Mistake(f"{path}.headers", message), (f"{path}.api_key",))


def _spark(account: AccountSettings, path: str) -> Iterator[Clash]:
    """What an account of iFlytek's needs, and no other may have."""
    spark, provider = account.spark, account.provider
    if not provider.is_spark:
        if spark is not None:
            message = f'remove it; provider "{provider}" has no such table'
            yield Clash(Mistake(f"{path}.spark", message), (f"{path}.provider",))
        return
    if not account.enabled:
        return  # it may refer to secrets that are not there
    if spark is None:
        message = "missing; it needs app_id, api_secret and api_version"
        yield Clash(Mistake(f"{path}.spark", message), (f"{path}.provider",))
        return
    if account.api_key is None and not provider.is_simulated:
        message = "missing; it is the APIKey of the application"
        yield Clash(Mistake(f"{path}.api_key", message), (f"{path}.provider",))
    if (mistake := mistake_in(spark)) is not None:
        yield Clash(Mistake(f"{path}.spark.{mistake.setting}", mistake.message))
    if account.transport is not Transport.WS and spark.http_password is None:
        message = f'transport = "{account.transport}" needs the APIPassword'
        also = (f"{path}.transport",)
        yield Clash(Mistake(f"{path}.spark.http_password", message), also)


def _devices(settings: Settings) -> Iterator[Clash]:
    """What devices' tokens, and being told of servers, need."""
    xiaozhi = settings.xiaozhi
    names = {key.name for key in settings.keys if key.enabled}
    if xiaozhi.token_secret is not None and xiaozhi.key is None:
        message = "missing; it names the key that devices with relayd's tokens count to"
        yield Clash(Mistake("xiaozhi.key", message), ("xiaozhi.token_secret",))
    if xiaozhi.key is not None and xiaozhi.key not in names:
        message = "names no enabled key; it has to be the name of one of [[keys]]"
        yield Clash(Mistake("xiaozhi.key", message), ("keys",))
    for index, account in enumerate(settings.accounts):
        path = f"accounts[{index}]"
        if account.xiaozhi != DeviceServerSettings() and not account.provider.has_devices:
            message = f'remove it; provider "{account.provider}" has no such table'
            yield Clash(Mistake(f"{path}.xiaozhi", message), (f"{path}.provider",))
        if not account.enabled:
            continue
        for name in ("boards", "firmware"):
            if getattr(account.xiaozhi, name) != ("*",) and xiaozhi.public_url is None:
                at = f"{path}.xiaozhi.{name}"
                message = f"missing; devices say at /xiaozhi/ota/ what {at} is about"
                yield Clash(Mistake("xiaozhi.public_url", message), (at,))
        if account.xiaozhi.ota_url is None:
            continue
        for name in ("public_url", "token_secret"):
            if getattr(xiaozhi, name) is None:
                message = f"missing; {path}.xiaozhi.ota_url needs it"
                yield Clash(Mistake(f"xiaozhi.{name}", message), (f"{path}.xiaozhi.ota_url",))


def _sha256(key: KeySettings) -> bytes | None:
    return key.secret.sha256 if key.secret else None


def _repeated(
    items: Iterable[T], path: str, value_of: Callable[[T], Hashable | None]
) -> Iterator[Clash]:
    """Items whose value an earlier one has already. The value itself is not repeated."""
    first = dict[Hashable, str]()
    for index, item in enumerate(items):
        value, at = value_of(item), path.format(index)
        if value is None:
            continue
        if value in first:
            message = f"repeats {first[value]}; every one must be unique"
            yield Clash(Mistake(at, message), (first[value],))
        first.setdefault(value, at)


def _is_within(inner: str, outer: str) -> bool:
    """Whether the path ``inner`` is ``outer`` or lies inside it."""
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))
