"""Structured logs: one event a line, named in :mod:`relayd.observe.events`.

A line costs some twenty microseconds, so there is one per session or turn and none per message.
Nothing a caller passes, and nothing that standard output does, raises into the caller. Context
variables play no part: what runs in the reactor's pass has none of its session's.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import BinaryIO, Final, Literal, TypeAlias

import attrs
import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from relayd.observe.events import EVENTS
from relayd.observe.lines import LineWriter
from relayd.observe.values import Plain, plain_fields, printable

Logger: TypeAlias = FilteringBoundLogger

LEVELS: Final[dict[str, int]] = {
    "debug": 10,
    "info": 20,
    "warning": 30,
    "error": 40,
    "critical": 50,
}

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


@attrs.define
class _Output:
    """Where all lines go. Loggers are long-lived, so a change of settings happens here.

    Attributes:
        writer: ``None`` until :func:`configure` was called: nothing is written before.
    """

    writer: LineWriter | None = None
    for_people: bool = False
    level: int = LEVELS["info"]

    def msg(self, line: bytes) -> None:
        if self.writer is not None:
            self.writer.write(line)

    debug = info = warning = error = critical = msg  # structlog calls the level's method


_output: Final = _Output()


def configure(settings_format: Literal["json", "console"], level: str, stream: BinaryIO) -> None:
    """Choose the form, the least level and the stream of all lines, also of existing loggers.

    Args:
        settings_format: ``json``, or ``console`` for people.
        level: One of :data:`LEVELS`; lines below it are not written.
        stream: Usually ``sys.stdout.buffer``. Its descriptor is written to directly, a line at
            a time, and is never waited for.
    """
    _output.writer = LineWriter(stream)
    set_format(settings_format)
    set_level(level)


def set_format(settings_format: Literal["json", "console"]) -> None:
    """Change the form alone; the lines that wait to be written keep theirs."""
    _output.for_people = settings_format == "console"


def set_level(level: str) -> None:
    """Change the least level alone."""
    _output.level = LEVELS[level]


def get_logger() -> Logger:
    """A logger. ``log.info(LogEvent.X, field=…)`` writes a line; ``bind`` gives one with fields.

    Fields that the event names and the call does not are null. ``traceback=error``, or structlog's
    ``exc_info``, shows where an exception came from.
    """
    logger: Logger = structlog.wrap_logger(
        _output,
        processors=[_render],
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def shows(level: str) -> bool:
    """Whether lines of ``level`` are written. For who says much that is rarely wanted."""
    return LEVELS[level] >= _output.level


def flush() -> bool:
    """Send what standard output takes now; whether nothing is left."""
    return _output.writer is None or _output.writer.flush()


def close(*, within_s: float) -> None:
    """At the end of the process: wait up to ``within_s`` seconds for the reader of the lines."""
    if _output.writer is not None:
        _output.writer.close(within_s=within_s)


def lines_lost() -> int:
    """How many lines standard output did not take so far."""
    return 0 if _output.writer is None else _output.writer.lines_lost


def _render(_logger: object, method: str, given: MutableMapping[str, object]) -> bytes:
    """The one structlog processor: from the call's fields to the bytes of the line."""
    if LEVELS[method] < _output.level:
        raise structlog.DropEvent
    event = str(given.pop("event", ""))
    line: dict[str, Plain] = {"ts": _timestamp(), "level": method, "event": event}
    error = _error_of(given.pop("exc_info", None))
    if error is not None:
        given["traceback"] = error
    line |= _NULLS.get(event, {})
    for name in _HEAD:
        given.pop(name, None)
    line |= plain_fields(given)
    return _console(line) if _output.for_people else _ENCODER.encode(line) + b"\n"


_HEAD: Final = ("ts", "level", "event")
_NULLS: Final[dict[str, dict[str, Plain]]] = {
    event.value: dict.fromkeys(spec.fields) for event, spec in EVENTS.items()
}
"""Every event's fields, in order, where nothing is known of them."""


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error_of(exc_info: object) -> BaseException | None:
    """The exception that a call's ``exc_info`` means: the exception, its triple, or true."""
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exc_info()[1]
        case _:
            return None


def _console(line: dict[str, Plain]) -> bytes:
    """A line for people. A value cannot look like a field, nor text of a peer like a line."""
    traceback = line.pop("traceback", None)
    words = [str(line.pop("ts")), f"{line.pop('level'):<7}", f"{line.pop('event'):<18}"]
    known = {name: value for name, value in line.items() if value is not None}
    words += [f"{name}={_console_value(value)}" for name, value in known.items()]
    rows = [printable(" ".join(words).rstrip())]
    if isinstance(traceback, str):
        rows += [f"    {printable(row)}" for row in traceback.splitlines()]
    return "".join(f"{row}\n" for row in rows).encode()


def _console_value(value: Plain) -> str:
    if isinstance(value, str) and value and not set(value) & _QUOTED and value.isprintable():
        return value
    return _ENCODER.encode(value).decode()


_QUOTED: Final = frozenset(' ="\\')
