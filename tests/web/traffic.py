"""A made-up relay under load, to look at the dashboard with: ``python -m tests.web.traffic``."""

from __future__ import annotations

import argparse
import math
import random
import time
from typing import Any, Final

import attrs
import trio

from tests.web.fake_relayd import KEY, FakeRelayd
from tests.web.rows import rfc3339, session_row

STEP_S: Final = 5
STEPS: Final = 360
MODELS: Final = (
    ("gpt-realtime", "realtime", "openai-main", 0.08),
    ("gpt-realtime-mini", "realtime", "openai-spare", 0.02),
    ("gpt-5.2-codex", "responses", "openai-pool", 0.05),
    ("gpt-5", "responses", "azure-sweden", 0.04),
    ("xunfei-spark-max", "chat", "spark-max", 0.003),
)
TENANTS: Final = ("support-voice", "ide-assist", "kiosk", "research", "batch-eval", "mobile-app")
WHY: Final = ("client_closed",) * 12 + ("client_gone", "session_max_age", "upstream_lost", "drain")


@attrs.define
class Traffic:
    """Keeps a relay busy."""

    relay: FakeRelayd
    size: int
    chance: random.Random = attrs.field(factory=lambda: random.Random(7))
    wave: float = 0.0

    def fill(self) -> None:
        """Half an hour that has passed, and the sessions that are left of it."""
        for _ in range(self.size):
            self._add(self.chance.expovariate(1 / 900))
        series: dict[str, Any] = {"step_s": STEP_S, "ends_at": int(time.time()) // 5 * 5}
        steps = [self._step(number) for number in range(STEPS)]
        series |= {name: [step[name] for step in steps] for name in steps[0]}
        totals = [self.chance.paretovariate(1.1) for _ in range(12)]
        self.relay.overview |= {
            "series": series,
            "now": self._now(steps[-1]),
            "keys": [
                {
                    "key": f"{TENANTS[index % 6]}-{'abcdef'[index // 6]}",
                    "tenant": TENANTS[index % 6],
                    **used(total),
                }
                for index, total in enumerate(sorted(totals, reverse=True))
            ],
            "models": [
                {"model": model, **used(8 / (1 + rank))} for rank, (model, *_) in enumerate(MODELS)
            ],
            "reasons": {
                "completed": 148_211, "cancelled": 2_904, "incomplete": 611,
                "upstream_lost": 87, "rate_limit_exceeded": 64, "killed": 5, "upstream_silent": 3,
            },
        }  # fmt: skip
        self._accounts()

    async def run(self) -> None:
        """Events, sessions that come and go, a stats event a second."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._seconds)
            nursery.start_soon(self._turns)
            nursery.start_soon(self._churn)

    async def _seconds(self) -> None:
        while True:
            await trio.sleep(1)
            series = self.relay.overview["series"]
            step = self._step(STEPS)
            now = self._now(step)
            told: dict[str, Any] = {"now": now}
            if time.time() - series["ends_at"] >= STEP_S:
                series["ends_at"] += STEP_S
                for name, value in step.items():
                    series[name] = [*series[name][1:], value]
                told["step"] = {"ends_at": series["ends_at"], **step}
            self.relay.overview["now"] = now
            for row in self.relay.overview["keys"] + self.relay.overview["models"]:
                row["cost_usd"] += self.chance.expovariate(1 / (0.002 * row["cost_usd"]))
                row["turns"] += self.chance.randrange(9)
            self._age()
            self._accounts()
            await self.relay.publish("stats", told)
            for tenant in TENANTS:
                topics = ((tenant, f"tenant:{tenant}"),)
                await self.relay.publish("stats", told, topics=topics)

    async def _turns(self) -> None:
        number = 0
        while True:
            await trio.sleep(self.chance.expovariate(12))
            if not self.relay.sessions:
                continue
            row = self.chance.choice(list(self.relay.sessions.values()))
            number += 1
            turn_id = f"resp_{number:06d}"
            if row["state"] == "idle":
                row["state"] = "busy"
                await self.relay.tell("turn.started", row, turn_id=turn_id)
                continue
            row["state"] = "idle"
            row["turns"] += 1
            await self._end_turn(row, number, turn_id)

    async def _end_turn(self, row: dict[str, Any], number: int, turn_id: str) -> None:
        tell, ttft = self.relay.tell, round(self.chance.gauss(340, 60))
        tokens = {"tokens_in": self.chance.randrange(4000), "tokens_out": ttft}
        if number % 31 == 0:
            failed = {"account": "azure-sweden", "reason": "rate_limit_exceeded"}
            await self.relay.publish("account.failed", {**failed, "dialect": "responses"})
            await tell("session.failed_over", row, account_from="azure-sweden", reason="quota")
        await tell("turn.first_output", row, turn_id=turn_id, ttft_ms=ttft)
        if number % 9 == 0:
            await tell("turn.tool_called", row, turn_id=turn_id, name="lookup", call_id="call_1")
        await tell("usage.charged", row, source="response", cost_usd=0.00412, **tokens)
        said = {"ttft_ms": ttft, "duration_ms": ttft * 7, **tokens, "cost_usd": 0.00412}
        await tell("turn.ended", row, turn_id=turn_id, reason="completed", **said)

    async def _churn(self) -> None:
        while True:
            await trio.sleep(self.chance.expovariate(1.2))
            if len(self.relay.sessions) > self.size:
                ended = self.chance.choice(list(self.relay.sessions))
                await self.relay.end_session(ended, self.chance.choice(WHY))
            else:
                session_id = self._add(0)
                row = self.relay.sessions[session_id]
                await self.relay.tell("session.opened", row, connect_ms=81.4)

    def _add(self, age_s: float) -> str:
        session_id = f"sess_{self.chance.randbytes(8).hex()}"
        weights = (40, 12, 26, 8, 14)
        model, dialect, account, _ = self.chance.choices(MODELS, weights)[0]
        tenant = self.chance.choice(TENANTS)
        turns = int(age_s / 20)
        self.relay.sessions[session_id] = {
            **session_row(session_id),
            "dialect": dialect, "model": model, "account": account,
            "tenant": tenant, "key": f"{tenant}-a",
            "state": "busy" if self.chance.random() < 0.3 else "idle",
            "duration_s": age_s, "started_at": rfc3339(time.time() - age_s), "turns": turns,
            "messages_up": turns * 31, "messages_down": turns * 77,
            "client_address": f"203.0.113.{self.chance.randrange(256)}",
        }  # fmt: skip
        return session_id

    def _age(self) -> None:
        for row in self.relay.sessions.values():
            row["duration_s"] += 1
            if row["state"] == "busy" or self.chance.random() < 0.1:
                row["messages_up"] += self.chance.randrange(8)
                row["messages_down"] += self.chance.randrange(24)

    def _step(self, number: int) -> dict[str, float | None]:
        self.wave = 0.97 * self.wave + self.chance.gauss(0, 0.05)
        level = self.size * (1 + 0.25 * math.sin(number / 57) + self.wave)
        dip = 0.35 if 231 <= number <= 243 else 1.0
        turns = max(0.0, self.chance.gauss(level / 6, level**0.5 / 5)) * dip
        return {
            "turns": round(turns),
            "tokens_in": round(turns * self.chance.gauss(900, 40)),
            "tokens_out": round(turns * self.chance.gauss(340, 25)),
            "cost_usd": turns * self.chance.gauss(0.012, 0.001),
            "ttft_p50_ms": self.chance.gauss(310, 12) + (260 if dip < 1 else 0),
            "ttft_p99_ms": self.chance.gauss(880, 70) + (1900 if dip < 1 else 0),
            "failed": round(turns * 0.2) if dip < 1 else (self.chance.random() < 0.05) * 1,
        }

    def _now(self, step: dict[str, Any]) -> dict[str, Any]:
        dialects: dict[str, int] = {}
        for row in self.relay.sessions.values():
            dialects[row["dialect"]] = dialects.get(row["dialect"], 0) + 1
        per_second = {
            f"{name}_per_s": step[name] / STEP_S for name in ("turns", "tokens_in", "tokens_out")
        }
        return {
            "sessions": len(self.relay.sessions), "by_dialect": dialects, **per_second,
            "cost_usd_per_min": step["cost_usd"] * 12, "errors_per_min": step["failed"] * 12 / 60,
            "ttft_p50_ms": step["ttft_p50_ms"], "ttft_p99_ms": step["ttft_p99_ms"],
        }  # fmt: skip

    def _accounts(self) -> None:
        rows = []
        until = rfc3339(time.time() // 60 * 60 + 94)
        states = {
            "azure-sweden": ("open", "rate_limit_exceeded"),
            "azure-france": ("probation", "upstream_lost"),
            "openai-old": ("disabled", "invalid_api_key"),
            "azure-test": ("disabled", "operator"),
        }
        for name, provider in (
            ("openai-main", "openai"), ("openai-spare", "openai"), ("openai-pool", "openai"),
            ("azure-sweden", "azure"), ("azure-france", "azure"), ("spark-max", "spark"),
            ("openai-old", "openai"), ("azure-test", "azure"),
        ):  # fmt: skip
            state, reason = states.get(name, ("closed", None))
            load = sum(row["account"] == name for row in self.relay.sessions.values())
            pool = None
            if name in {"openai-pool", "azure-sweden", "spark-max"}:
                busy = min(128, load // 2)
                pool = {
                    "cl_active": busy, "cl_waiting": 3 if busy > 40 else 0, "sv_active": busy,
                    "sv_idle": 11, "sv_tested": 1, "sv_login": 2, "maxwait_s": 0.4,
                    "slots_max": 128, "leases": 91_200, "reused": 88_914,
                }  # fmt: skip
            row = {
                "name": name, "provider": provider, "dialects": ["realtime"], "state": state,
                "reason": reason, "sessions": load, "sessions_max": 400,
                "enabled": name != "azure-test",
                "until": until if state == "open" else None, "pool": pool,
            }  # fmt: skip
            rows.append(row)
        self.relay.accounts = rows


def used(size: float) -> dict[str, Any]:
    """What somebody used, more or less."""
    turns = round(size * 9_000)
    tokens = {"tokens_in": turns * 900, "tokens_out": turns * 340}
    return {"turns": turns, **tokens, "cost_usd": turns * 0.0113}


async def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--sessions", type=int, default=400, help="0: a relay without traffic")
    given = parser.parse_args()
    relay = FakeRelayd()
    relay.keys["user-key"] = {"name": "kiosk-a", "role": "user", "tenant": "kiosk"}
    async with trio.open_nursery() as nursery:
        port = await nursery.start(relay.serve, given.port)
        print(f"http://127.0.0.1:{port}/dashboard, with the key {KEY} or user-key", flush=True)
        if given.sessions:
            traffic = Traffic(relay, given.sessions)
            traffic.fill()
            nursery.start_soon(traffic.run)


if __name__ == "__main__":
    trio.run(main)
