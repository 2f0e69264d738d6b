"""A ledger with rows in it, for tests of what reads one."""

from __future__ import annotations

import datetime
from contextlib import closing
from pathlib import Path
from typing import Any

from relayd.ledger.database import Database
from relayd.ledger.rows import Row


def at(text: str) -> float:
    """A moment in UTC, as in ``2026-11-01`` or ``2026-11-01T12:00``."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def row(number: int, when: str = "2026-11-01", **changes: Any) -> Row:  # noqa: ANN401 - a value of any field
    """A response with a price, in a session of its own."""
    usual: dict[str, Any] = {
        "session_id": f"session-{number}",
        "entry": f"response:{number}",
        "source": "response",
        "ended_at": at(when),
        "dialect": "realtime",
        "transport": "websocket",
        "key": "dev",
        "tenant": "acme",
        "account": "main",
        "model": "gpt-realtime",
        "upstream_model": "gpt-realtime",
        "tag": None,
        "upstream_id": str(number),
        "reason": "completed",
        "tokens_in": 10,
        "tokens_out": 3,
        "tokens_in_text": 10,
        "tokens_out_text": 3,
        "cost_nano": 1_000,
    }
    return Row(**(usual | changes))


def fill(path: Path, *rows: Row) -> Path:
    """Write ``rows`` into a ledger, which is made if it is not there."""
    with closing(Database.open(path)) as database:
        assert database.write(rows) == ()
    return path
