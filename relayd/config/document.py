"""``docs/configuration.md``, out of the schema. ``python -m relayd.config.document`` writes it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

import attrs

from relayd.config.about import about_of
from relayd.config.prices import PriceSettings, TokenPrices
from relayd.config.schema import (
    AccountSettings,
    DeviceServerSettings,
    DialectSettings,
    HubKeepalive,
    HubSettings,
    KeySettings,
    LedgerSettings,
    LimitSettings,
    LogSettings,
    PoolSettings,
    ResponsesSettings,
    ServerSettings,
    StateSettings,
    Timeouts,
    TlsSettings,
    XiaozhiKeepalive,
    XiaozhiSettings,
)
from relayd.config.spark import ChatDefaults, SparkSettings

DOCUMENT: Final = Path("docs/configuration.md")

SECTIONS: Final[dict[str, type[attrs.AttrsInstance]]] = {
    "[server]": ServerSettings,
    "[server.tls]": TlsSettings,
    "[limits]": LimitSettings,
    "[pool]": PoolSettings,
    "[log]": LogSettings,
    "[state]": StateSettings,
    "[ledger]": LedgerSettings,
    "[dialects]": DialectSettings,
    "[dialects.responses]": ResponsesSettings,
    "[dialects.hub]": HubKeepalive,
    "[dialects.xiaozhi]": XiaozhiKeepalive,
    "[hub]": HubSettings,
    "[xiaozhi]": XiaozhiSettings,
    "[[keys]]": KeySettings,
    "[[accounts]]": AccountSettings,
    "accounts.timeouts": Timeouts,
    "accounts.spark": SparkSettings,
    "accounts.defaults": ChatDefaults,
    "accounts.xiaozhi": DeviceServerSettings,
}
PRICE_SECTIONS: Final[dict[str, type[attrs.AttrsInstance]]] = {
    "[[prices]]": PriceSettings,
    "prices.per_million": TokenPrices,
}

INTRODUCTION: Final = """\
# Configuration

Generated from the schema in `relayd/config` by `python -m relayd.config.document`; edit that
instead.

relayd reads one TOML file: the one named by `--config`, else by `$RELAYD_CONFIG`, else
`/etc/relayd/relayd.toml`, else `etc/relayd.toml`. `relayd check` reports every mistake in it at
once, each with its path, and exits with 78; `relayd serve` refuses to start in the same words.
`etc/relayd.example.toml` shows every setting.

Names end in their unit: `_s` is seconds, `_bytes` is bytes, `_usd` is US dollars; `_max` is the
most that is allowed. An unknown setting is a mistake. So is a value of another type: `"5"` is not
`5`. An integer may stand where a number is expected. Money and factors are decimals in quotes,
since `0.1` without them is not exactly a tenth in a computer; whole ones may stand without.

## Secrets

A secret can be written in four ways:

| form | meaning |
| --- | --- |
| `"ENV:NAME"` | the environment variable `NAME` |
| `"FILE:path"` | the content of a file, without the line break at its end |
| `"sha256:<64 hex digits>"` | the SHA-256 of a client's key; for `keys.secret` only |
| any other text | the secret itself; for trying only |

A relative path after `FILE:` starts in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`) where
that is set, else beside the configuration file.

What `keys.secret` and `server.admin_token` hold has at least 4 characters. A client's key is made
of letters, digits and ``!#$%&'*+-.^_`|~``, because browsers send it as a subprotocol;
`relayd key new NAME` makes one and prints its `sha256:` line. A disabled key or account may refer
to variables and files that do not exist.
"""

PRICES: Final = """\
# The prices file

What models cost stands in a TOML file of its own, which `ledger.prices` names: it changes at other
times than the configuration, and is often the same on many machines. Its mistakes are reported
together with those of the configuration.

A price is found by the account's name for a model, after `model_map`. A model without a price can
be used, but not by a key with a budget; its cost is recorded as unknown, which is not 0.
`etc/prices.toml` is a beginning: check every figure with the provider before you bill anyone.
"""


def render() -> str:
    """The whole document."""
    settings = (_section(title, cls) for title, cls in SECTIONS.items())
    prices = (_section(title, cls) for title, cls in PRICE_SECTIONS.items())
    return "\n".join([INTRODUCTION, *settings, PRICES, *prices])


def _section(title: str, cls: type[attrs.AttrsInstance]) -> str:
    what = inspect.cleandoc(cls.__doc__ or "").partition(": ")[2].replace("``", "`")
    rows = [_row(field) for field in attrs.fields(cls)]
    head = f"## `{title}`\n\n{what[:1].upper()}{what[1:]}\n"
    return "\n".join(
        [head, "| setting | type | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    )


def _row(field: attrs.Attribute[object]) -> str:
    known = about_of(field)
    kind = known.rule.kind if known.rule else "a table"
    default = known.default or _default(field.default)
    cells = (f"`{field.name}`", kind, default, known.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(value: object) -> str:
    return "**required**" if value is attrs.NOTHING else f"`{toml(value)}`"


def toml(value: object) -> str:
    """A default as TOML writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(toml, value))}]"
        case _:
            return str(value)


if __name__ == "__main__":
    DOCUMENT.write_text(render(), encoding="utf-8")
