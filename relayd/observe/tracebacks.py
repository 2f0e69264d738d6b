"""Where an exception came from, as text that may be logged.

Frames and source lines show the program, never a value of a variable. The exception's own words
may quote what a peer sent, so they are redacted.
"""

from __future__ import annotations

from traceback import TracebackException
from typing import Final

from relayd.core.redact import redact

FRAMES_MAX: Final = 24
"""Frames shown of one exception, the innermost ones."""

EXCEPTIONS_MAX: Final = 12
"""Exceptions shown of a chain or group."""

WORDS_MAX: Final = 2048
"""Characters shown of what one exception says."""

_CAUSED: Final = "which directly caused:"
_DURING: Final = "during which happened:"


def render_traceback(error: BaseException) -> str:
    """``error`` with its causes, contexts and group members. Never raises for what it is given."""
    # compact drops the contexts that "from None" has hidden; no locals are captured.
    summary = TracebackException.from_exception(error, limit=-FRAMES_MAX, compact=True)
    lines: list[str] = []
    _render(summary, lines, left=EXCEPTIONS_MAX, indent="")
    return "\n".join(lines)


def describe_error(error: BaseException) -> str:
    """``error``'s type and words on one line, redacted."""
    return redact(_words(TracebackException(type(error), error, None)))


def _render(summary: TracebackException, lines: list[str], *, left: int, indent: str) -> int:
    """Append ``summary`` to ``lines``; how many of the ``left`` exceptions remain after it."""
    if left == 0:
        return 0
    if summary.__cause__ is not None:
        left = _render(summary.__cause__, lines, left=left, indent=indent)
        lines.append(indent + _CAUSED)
    elif summary.__context__ is not None and not summary.__suppress_context__:
        left = _render(summary.__context__, lines, left=left, indent=indent)
        lines.append(indent + _DURING)
    for frame in summary.stack.format():
        lines.extend(indent + line for line in frame.splitlines())
    lines.append(indent + redact(_words(summary)))
    left -= 1
    for member in summary.exceptions or ():
        left = _render(member, lines, left=left, indent=indent + "  | ")
    return max(left, 0)


def _words(summary: TracebackException) -> str:
    return "".join(summary.format_exception_only()).strip()[:WORDS_MAX]
