"""Writes ``docs/events.md`` from the tables that the code itself uses.

``python -m relayd.observe.document`` in a checkout rewrites the file; a test keeps it true.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from relayd.core.endings import ENDINGS, ENDINGS_BY_UPSTREAM, Ending, Reason
from relayd.core.refusals import STATUS
from relayd.observe.events import EVENTS, FIELDS
from relayd.observe.metrics_labels import POOL_WORDS, TURN_ABORTS, TURN_FAULTS, TURN_STATUSES

PATH: Final = Path(__file__).parents[2] / "docs" / "events.md"

_HEAD: Final = """\
# Log events, endings and refusals

Generated from relayd's own tables by `python -m relayd.observe.document`; do not edit.

relayd writes one JSON object a line on standard output. Every line starts with `ts` (RFC 3339,
UTC, milliseconds), `level` and `event`; the fields of the event follow in the order given here,
all of them, null where a value is not known. No key, audio or prompt text is ever logged: headers
that may hold a key are hidden by name, and what looks like a key is taken out of messages.
`format = "console"` in `[log]` writes the same for people, without the nulls.
"""

_ENDINGS: Final = """\
The `reason` of `session.ended`, with who is to `fault` and the close code each side is sent. A
code in brackets is what the same reason means when the upstream sent the offending bytes. *passed
on*: the other side's own code and redacted reason travel. *abort*: the TCP connection is reset,
since the peer takes no byte; the same happens, whatever the row says, to a side that is inside a
frame too large to be held, since no Close can be sent there. *event*: an error event of the
dialect goes before the Close. A dash: nobody is there to be told.
"""

_REFUSALS: Final = """\
The `reason` of `connection.refused`, which is also `error.code` in the JSON body, with the HTTP
status. Status 0: nobody was left to send one to.
"""

_WORDS: Final = """\
The `reason` of `turn.ended` is a status of the upstream's, one of the endings above, or a word for
the turn alone. That of a slot or a lease is a word of the pool's or, of a socket that broke while
it was leased, the one that ended its turns. [operating.md](operating.md#the-pool) says what to do
about them, [connecting.md](connecting.md) what a client is told.
"""


def document() -> str:
    """The whole text of ``docs/events.md``."""
    parts = [
        _HEAD,
        "## Events\n",
        *_events(),
        "## Fields\n",
        _table(("field", "meaning"), ((f"`{name}`", text) for name, text in FIELDS.items())),
        "## Endings\n",
        _ENDINGS,
        _table(("reason", "fault", "to the client", "to the upstream"), _ending_rows()),
        "## Turns and the pool\n",
        _WORDS,
        _table(("of", "words"), ((of, ", ".join(map(_code, words))) for of, words in _WORDS_OF)),
        "## Refusals\n",
        _REFUSALS,
        _table(("status", "code words"), _refusal_rows()),
    ]
    return "\n".join(parts)


def _events() -> Iterable[str]:
    for event, spec in EVENTS.items():
        yield f"### `{event}`\n"
        yield f"{spec.when}\n"
        yield f"Fields: {', '.join(f'`{name}`' for name in spec.fields)}.\n"


def _ending_rows() -> Iterable[tuple[str, str, str, str]]:
    for reason, ending in ENDINGS.items():
        fault, client, upstream = _ending_cells(reason, ending)
        if reason in ENDINGS_BY_UPSTREAM:
            others = _ending_cells(reason, ENDINGS_BY_UPSTREAM[reason])
            fault, client, upstream = (
                f"{said} ({other})"
                for said, other in zip((fault, client, upstream), others, strict=True)
            )
        yield f"`{reason}`", fault, client, upstream


def _ending_cells(reason: Reason, ending: Ending) -> tuple[str, str, str]:
    return ending.fault.value, _to_client(reason, ending), _to_upstream(reason, ending)


def _to_client(reason: Reason, ending: Ending) -> str:
    if ending.abort_client:
        return "abort"
    if ending.client_code is None:
        return "passed on" if reason is Reason.UPSTREAM_CLOSED else "–"
    return f"event, {ending.client_code}" if ending.error_event else str(ending.client_code)


def _to_upstream(reason: Reason, ending: Ending) -> str:
    if ending.abort_upstream:
        return "abort"
    if ending.upstream_code is None:
        return "passed on" if reason is Reason.CLIENT_CLOSED else "–"
    return str(ending.upstream_code)


def _refusal_rows() -> Iterable[tuple[str, str]]:
    for status in sorted(set(STATUS.values())):
        codes = [code for code, its_status in STATUS.items() if its_status == status]
        yield str(status), ", ".join(map(_code, codes))


_WORDS_OF: Final = (
    ("statuses", TURN_STATUSES),
    ("turns of the responses dialect", TURN_ABORTS),
    ("turns of the chat dialect", TURN_FAULTS),
    ("the pool", POOL_WORDS),
)


def _code(word: str) -> str:
    return f"`{word}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PATH.write_text(document(), encoding="utf-8")
