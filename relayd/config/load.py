"""Reading the configuration file: all of it, or every mistake in it at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from relayd.config.checks import clashes, unpriced_budgets
from relayd.config.files import Surroundings
from relayd.config.mistakes import ConfigError, Mistake
from relayd.config.parse import parse_toml
from relayd.config.price_file import prices_path, read_prices
from relayd.config.schema import (
    AccountSettings,
    DialectSettings,
    HubSettings,
    KeySettings,
    LedgerSettings,
    LimitSettings,
    LogSettings,
    PoolSettings,
    ServerSettings,
    Settings,
    StateSettings,
    XiaozhiSettings,
)
from relayd.config.structure import TableReader, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConfigError", "Mistake", "find_config", "load", "load_ledger", "settings_of"]

CONFIG_MAX_BYTES: Final = 16 * 1024 * 1024
"""Some 50,000 accounts. More is not a configuration."""

PRICES: Final = "prices"
"""Of the settings, what is not in the configuration itself."""

_TABLES: Final = tuple(field.name for field in attrs.fields(Settings) if field.name != PRICES)

CONFIG_VARIABLE: Final = "RELAYD_CONFIG"
CONFIG_PLACES: Final = (Path("/etc/relayd/relayd.toml"), Path("etc/relayd.toml"))


def find_config(given: Path | None, *, environ: Mapping[str, str]) -> Path:
    """The configuration file to use: the given one, ``$RELAYD_CONFIG``, or the first that exists.

    Raises:
        ConfigError: No file was named, and none is in its usual places.
    """
    if given is not None:
        return given
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    for place in CONFIG_PLACES:
        if place.exists():
            return place
    places = " nor ".join(map(str, CONFIG_PLACES))
    message = f"no configuration: neither {places} exists; name one with --config"
    raise ConfigError("relayd", [Mistake("", message)])


def load(path: Path | str, *, environ: Mapping[str, str]) -> Settings:
    """Read a configuration, with the secrets and files it refers to. Blocks for a few ms.

    The prices file is one of those. Where one is read, the settings' ``ledger.prices`` is its
    absolute path, whether it was named or is in its usual place.

    Args:
        path: The TOML file. Paths in it are relative to where it is.
        environ: The environment that ``ENV:`` and ``$CREDENTIALS_DIRECTORY`` are looked up in.

    Raises:
        ConfigError: With every mistake at once, each with its path. No message holds a secret.
    """
    document, around = _opened(path, environ)
    settings, mistakes = settings_of(document, around)
    if not any(mistake.path in {"ledger", "ledger.prices"} for mistake in mistakes):
        settings, of_prices = _with_prices(settings, around)
        if not of_prices:
            of_prices = tuple(
                clash.mistake
                for clash in unpriced_budgets(settings)
                if not clash.follows_from(mistakes)
            )
        mistakes += of_prices
    if mistakes:
        raise ConfigError(str(path), mistakes)
    return settings


def load_ledger(path: Path | str, *, environ: Mapping[str, str]) -> LedgerSettings:
    """Read ``[ledger]`` alone, for who looks at the ledger beside the service. Blocks for a few ms.

    No secret is looked up, and mistakes elsewhere do not count; neither does a prices file that
    cannot be read, as by a user who is not the service's.

    Args:
        path: The TOML file.
        environ: The environment.

    Raises:
        ConfigError: The file cannot be read, or ``[ledger]`` is mistaken.
    """
    document, around = _opened(path, environ)
    reader = TableReader(around, (LedgerSettings,))
    ledger = reader.table(LedgerSettings, document.get("ledger", {}), "ledger")
    mistakes = [mistake for mistake in reader.mistakes if mistake.path != "ledger.prices"]
    if mistakes:
        raise ConfigError(str(path), mistakes)
    return ledger


def settings_of(
    document: Mapping[str, object], around: Surroundings
) -> tuple[Settings, tuple[Mistake, ...]]:
    """The settings in a parsed document, to be used only if there are no mistakes beside them.

    The prices are not among them.
    """
    reader = TableReader(around)
    for name in document:
        if name == PRICES:
            message = "unknown setting; prices have a file of their own, which ledger.prices names"
            reader.mistakes.append(Mistake(name, message))
        elif name not in _TABLES:
            reader.mistakes.extend(unknown(name, _TABLES).mistakes)
    settings = Settings(
        server=reader.table(ServerSettings, document.get("server", {}), "server"),
        limits=reader.table(LimitSettings, document.get("limits", {}), "limits"),
        pool=reader.table(PoolSettings, document.get("pool", {}), "pool"),
        log=reader.table(LogSettings, document.get("log", {}), "log"),
        state=reader.table(StateSettings, document.get("state", {}), "state"),
        ledger=reader.table(LedgerSettings, document.get("ledger", {}), "ledger"),
        dialects=reader.table(DialectSettings, document.get("dialects", {}), "dialects"),
        hub=reader.table(HubSettings, document.get("hub", {}), "hub"),
        xiaozhi=reader.table(XiaozhiSettings, document.get("xiaozhi", {}), "xiaozhi"),
        keys=reader.tables(KeySettings, document.get("keys", []), "keys"),
        accounts=reader.tables(AccountSettings, document.get("accounts", []), "accounts"),
    )
    of_single_settings = tuple(reader.mistakes)
    of_several = (
        clash.mistake for clash in clashes(settings) if not clash.follows_from(of_single_settings)
    )
    return settings, (*of_single_settings, *of_several)


def _with_prices(settings: Settings, around: Surroundings) -> tuple[Settings, tuple[Mistake, ...]]:
    path = prices_path(settings.ledger, around)
    if path is None:
        return settings, ()
    book, mistakes = read_prices(path, around)
    ledger = attrs.evolve(settings.ledger, prices=str(path))
    return attrs.evolve(settings, ledger=ledger, prices=book), mistakes


def _opened(path: Path | str, environ: Mapping[str, str]) -> tuple[dict[str, object], Surroundings]:
    """The document, and what it refers to. Raises :class:`ConfigError`."""
    document = _document(Path(path))
    if isinstance(document, Mistake):
        # Raised out here: the parser's own error, which holds the file's text, is gone by now.
        raise ConfigError(str(path), [document])
    return document, Surroundings(environ=environ, directory=Path(path).absolute().parent)


def _document(path: Path) -> dict[str, object] | Mistake:
    """The TOML document, or what keeps it from being one."""
    try:
        with path.open("rb") as file:
            content = file.read(CONFIG_MAX_BYTES + 1)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        cause = exc.strerror if isinstance(exc, OSError) else None
        return Mistake("", f"cannot read the file: {cause or 'not a valid path'}")
    if len(content) > CONFIG_MAX_BYTES:
        return Mistake("", f"the file is longer than {CONFIG_MAX_BYTES} bytes")
    document = parse_toml(content)
    return Mistake("", document) if isinstance(document, str) else document
