"""The settings of what relayd keeps: the limits' state, the ledger, and where prices are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

import attrs

from relayd.config.about import about
from relayd.config.mistakes import Wrong
from relayd.config.rules import TEXT_MAX_CHARS, Word, expected, expected_unseen

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

MEMORY_URL: Final = "memory:"
SQLITE_PREFIX: Final = "sqlite:"
SQLITE_MEMORY: Final = ":memory:"
PRICES_MAX_BYTES: Final = 16 * 1024 * 1024
PRICES_FILE: Final = "prices.toml"
"""Where prices are if the configuration does not say."""

_NOT_YET_STATE: Final = ("redis:", "rediss:", "valkey:", "valkeys:")
_NOT_YET_LEDGER: Final = ("postgres:", "postgresql:")


def check_state_url(url: str) -> None:
    """Check what ``state.url`` takes.

    Raises:
        ValueError: With a message for the operator that does not repeat the URL, since a password
            may have been written into it.
    """
    if url.startswith(_NOT_YET_STATE):
        raise ValueError(f'Redis and Valkey are not in this version; use "{MEMORY_URL}"')
    if url != MEMORY_URL:
        raise ValueError(f'expected "{MEMORY_URL}"')


def parse_ledger_url(url: str) -> str | None:
    """The path in what ``ledger.url`` takes, as it stands; ``None`` for a database in memory.

    Raises:
        ValueError: With a message for the operator that does not repeat the URL, since a password
            may have been written into it.
    """
    if url.startswith(_NOT_YET_LEDGER):
        raise ValueError(f'PostgreSQL is not in this version; use "{SQLITE_PREFIX}relayd.db"')
    path = url.removeprefix(SQLITE_PREFIX)
    if path == url:
        raise ValueError(f'expected "{SQLITE_PREFIX}path" or "{SQLITE_PREFIX}{SQLITE_MEMORY}"')
    if path == SQLITE_MEMORY:
        return None
    if len(path) > TEXT_MAX_CHARS or not path.isprintable():
        raise ValueError(f"expected a path of at most {TEXT_MAX_CHARS} printable characters")
    if not path or path.startswith((":", "//")) or path.endswith("/"):
        raise ValueError(
            f'expected the path of a file after "{SQLITE_PREFIX}", as in "{SQLITE_PREFIX}relayd.db"'
            f' or "{SQLITE_PREFIX}/var/lib/relayd/relayd.db"'
        )
    return path


@attrs.frozen
class StorageUrl:
    """A URL of something to write to. It may hold a password, so no message repeats it.

    Attributes:
        kind: What is expected.
        check: Raises ``ValueError`` with a message for the operator.
    """

    kind: str
    check: Callable[[str], object]

    def read(self, value: object, around: Surroundings) -> str:
        """The URL as it stands."""
        if not isinstance(value, str):
            raise expected_unseen(self.kind, value)
        try:
            self.check(value)
        except ValueError as exc:
            raise Wrong.because(str(exc)) from None
        return value


@attrs.frozen
class PricesFile:
    """A readable file, named relative to the configuration or absolutely."""

    kind: str = attrs.field(default="the path of a TOML file", init=False)

    def read(self, value: object, around: Surroundings) -> str:
        """Its path, absolute."""
        if not isinstance(value, str) or not value or not value.isprintable():
            raise expected(self.kind, value)
        path = around.beside(value)
        around.read(path, max_bytes=PRICES_MAX_BYTES)
        return str(path)


STATE_URL: Final = StorageUrl(f'"{MEMORY_URL}"', check_state_url)
LEDGER_URL: Final = StorageUrl(
    f'"{SQLITE_PREFIX}path" or "{SQLITE_PREFIX}{SQLITE_MEMORY}"', parse_ledger_url
)


@attrs.frozen(kw_only=True)
class StateSettings:
    """``[state]``: where the counters of limits are kept."""

    url: str = attrs.field(
        default=MEMORY_URL,
        metadata=about(STATE_URL, "`memory:` is this process; counters begin anew when it starts."),
    )
    on_failure: Literal["open", "closed"] = attrs.field(
        default="open",
        metadata=about(
            Word(("open", "closed")),
            "What limits do while the store does not answer: let everything through, or nothing.",
        ),
    )


@attrs.frozen(kw_only=True)
class LedgerSettings:
    """``[ledger]``: where it is written down what was used and what it cost."""

    url: str = attrs.field(
        default=f"{SQLITE_PREFIX}relayd.db",
        metadata=about(
            LEDGER_URL,
            "An SQLite database. A relative path starts in `$STATE_DIRECTORY`, else in the working"
            f" directory. `{SQLITE_PREFIX}{SQLITE_MEMORY}` is forgotten when relayd stops.",
        ),
    )
    prices: str | None = attrs.field(
        default=None,
        metadata=about(
            PricesFile(),
            "The prices file, see below. A relative path starts beside the configuration file."
            " Without prices, no cost is known.",
            default=f'`"{PRICES_FILE}"`, if there is one',
        ),
    )
    on_failure: Literal["refuse", "spill"] = attrs.field(
        default="refuse",
        metadata=about(
            Word(("refuse", "spill")),
            "What becomes of new turns while rows cannot be written: `refuse` turns them away,"
            " `spill` lets them run for as long as there is room to keep their rows in memory.",
        ),
    )
