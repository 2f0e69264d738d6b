"""The configuration in force as JSON, without anything that may be a secret.

What is shown is what is known to be harmless: the types in :func:`shown`. A field whose value
``repr`` hides is hidden here too, of headers and the like the names stay.
"""

from __future__ import annotations

import datetime
import enum
import re
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

import attrs
import msgspec

from relayd.config.pricebook import PriceBook
from relayd.config.proxy import Proxy
from relayd.config.schema import Settings
from relayd.config.secret import KeyDigest
from relayd.service.admin.paging import Slices
from relayd.service.admin.shapes import ENCODER, ConfigView, moment
from relayd.service.admin.state import Operations

HIDDEN: Final = "**"

_USERINFO: Final = re.compile(r"(?<=://)[^/?#]*@")

Shown: TypeAlias = "str | int | float | bool | list[Shown] | dict[str, Shown] | None"


async def config_view(operations: Operations) -> ConfigView:
    """The configuration in force, rendered in slices."""
    slices, settings = Slices(), operations.snapshot().settings
    tables: dict[str, msgspec.Raw] = {}
    for field in attrs.fields(Settings):
        value = getattr(settings, field.name)
        if isinstance(value, tuple):
            items = []
            for item in value:
                items.append(msgspec.Raw(ENCODER.encode(shown(item))))
                await slices.shown()
            tables[field.name] = msgspec.Raw(ENCODER.encode(items))
        else:
            tables[field.name] = msgspec.Raw(ENCODER.encode(shown(value)))
            await slices.shown()
    path = None if operations.path is None else str(operations.path)
    return ConfigView(path=path, loaded_at=moment(operations.loaded_at()), settings=tables)


def shown(value: object) -> Shown:
    """A setting's value, a table or a list of them. What is not known to be harmless is hidden."""
    match value:
        case None | bool() | int() | float():
            return value
        case enum.Enum():
            return str(value.value)
        case str() | Decimal() | IPv4Network() | IPv6Network():
            return _USERINFO.sub(f"{HIDDEN}@", str(value))
        case tuple():
            return [shown(item) for item in value]
        case Mapping():
            return {str(name): shown(item) for name, item in value.items()}
        case _:
            return _special(value)


def _special(value: object) -> Shown:
    match value:
        case datetime.datetime():
            return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
        case Proxy():
            return _proxy(value)
        case PriceBook():
            return {"count": len(value.prices)}
        case KeyDigest():
            return HIDDEN
    kind = type(value)
    if attrs.has(kind):
        return {field.name: _field(field, value) for field in attrs.fields(kind)}
    return HIDDEN  # a secret, or whatever else comes to be there


def _field(field: attrs.Attribute[object], of: object) -> Shown:
    value = getattr(of, field.name)
    if field.repr is True:
        return shown(value)
    if isinstance(value, Mapping):
        return dict.fromkeys(map(str, value), HIDDEN)
    return HIDDEN


def _proxy(proxy: Proxy) -> str:
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    user = "" if proxy.username is None else f"{HIDDEN}:{HIDDEN}@"
    return f"{proxy.kind}://{user}{host}:{proxy.port}"
