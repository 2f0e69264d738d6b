"""Rows and numbers of a relay that has hardly begun, as its API shows them."""

from __future__ import annotations

import time
from typing import Any


def empty_overview() -> dict[str, Any]:
    """An overview of a relay that has done nothing yet."""
    names = ("turns_per_s", "tokens_in_per_s", "tokens_out_per_s", "cost_usd_per_min")
    now = dict.fromkeys((*names, "errors_per_min"), 0.0)
    series = ("turns", "tokens_in", "tokens_out", "cost_usd", "failed")
    measured = ("ttft_p50_ms", "ttft_p99_ms")
    return {
        "version": "0.1.0",
        "draining": False,
        "now": {"sessions": 0, "by_dialect": {}, **now, **dict.fromkeys(measured)},
        "series": {
            "step_s": 5,
            "ends_at": int(time.time()) // 5 * 5,
            **{name: [0] * 360 for name in series},
            **{name: [None] * 360 for name in measured},
        },
        "keys": [],
        "models": [],
        "reasons": {},
    }


def session_row(session_id: str) -> dict[str, Any]:
    """A row of ``/api/v1/sessions`` for a session that has just begun."""
    return {
        "session_id": session_id,
        "dialect": "realtime",
        "key": "dev",
        "tenant": "dev",
        "account": "openai-main",
        "model": "gpt-realtime",
        "state": "idle",
        "started_at": rfc3339(time.time()),
        "duration_s": 0.0,
        "turns": 0,
        "messages_up": 0,
        "messages_down": 0,
        "client_address": "192.0.2.7",
    }


def rfc3339(seconds: float) -> str:
    """A moment as the hub writes it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
