"""Live figures: for a tenant, for all, and bounded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest

from relayd.core.endings import Reason
from relayd.dialect.responses_aborts import Abort
from relayd.hub.figures import NAME_MAX_CHARS, UNKNOWN, Figures
from relayd.observe.bus import BusEvent
from tests.hub.events import FACTS, charged, facts, opened, over, turn

BEGAN = 1_800_000_000.0
OTHERS = facts(tenant="globex", key="other", session_id="sess_2", dialect="passthrough")


def having(*events: BusEvent, now: float = BEGAN, tenants_max: int = 100) -> Figures:
    figures = Figures(BEGAN, tenants_max=tenants_max)
    for event in events:
        figures.hear(event, now)
    return figures


def seen(figures: Figures, tenant: str | None = None, now: float = BEGAN + 5) -> dict[str, Any]:
    return cast("dict[str, Any]", figures.overview(tenant, now))


def test_a_tenant_sees_its_own_and_nobody_sees_less_than_all() -> None:
    figures = having(
        charged(cost_usd=Decimal("0.5"), tokens_in=10, tokens_out=20),
        turn(),
        charged(OTHERS, cost_usd=Decimal("1.5"), tokens_in=1, tokens_out=2, model=None),
        turn(OTHERS, "failed"),
    )

    own, every = seen(figures, "acme"), seen(figures)
    row = {"turns": 1, "tokens_in": 10, "tokens_out": 20, "cost_usd": 0.5}
    dear = {"turns": 1, "tokens_in": 1, "tokens_out": 2, "cost_usd": 1.5}
    assert own["keys"] == [{"key": "dev", "tenant": "acme", **row}]
    assert own["models"] == [{"model": "gpt-realtime", **row}]
    assert own["reasons"] == {"completed": 1}
    assert own["series"]["turns"][-1] == 1
    assert every["keys"] == [{"key": "other", "tenant": "globex", **dear}, *own["keys"]]
    assert every["models"] == [{"model": "voice", **dear}, *own["models"]]
    assert every["reasons"] == {"completed": 1, "failed": 1}
    assert (every["series"]["turns"][-1], every["series"]["failed"][-1]) == (2, 1)
    assert every["series"]["cost_usd"][-1] == 2.0


def test_who_has_done_nothing_sees_nothing_and_takes_no_room() -> None:
    figures = having(turn())

    blank = seen(figures, "nobody")
    assert (blank["keys"], blank["models"], blank["reasons"]) == ([], [], {})
    assert blank["now"]["sessions"] == 0
    assert len(blank["series"]["turns"]) == 360
    assert figures.tenants == ("acme",)


def test_sessions_are_those_that_are_open() -> None:
    figures = having(opened(), opened(facts(session_id="sess_3")), opened(OTHERS), over())

    assert seen(figures)["now"]["by_dialect"] == {"realtime": 1, "passthrough": 1}
    assert seen(figures)["now"]["sessions"] == 2
    assert seen(figures, "globex")["now"]["by_dialect"] == {"passthrough": 1}
    figures.hear(over(OTHERS), BEGAN)
    figures.hear(over(), BEGAN)
    assert seen(figures)["now"]["by_dialect"] == {}
    assert figures.tenants == ()


def test_who_watches_is_no_session() -> None:
    watching = facts(dialect="hub")

    assert seen(having(opened(watching), over(watching)))["now"]["by_dialect"] == {}
    assert seen(having(opened(watching)))["now"]["sessions"] == 0


def test_what_is_used_beside_turns_is_no_turn() -> None:
    figures = having(charged(source="transcription", tokens_in=5, cost_usd=Decimal(1)))

    assert seen(figures)["models"] == [
        {"model": "gpt-realtime", "turns": 0, "tokens_in": 5, "tokens_out": 0, "cost_usd": 1.0}
    ]


@pytest.mark.parametrize(
    ("reason", "failed"),
    [
        ("completed", 0),
        ("incomplete", 0),
        ("cancelled", 0),
        ("failed", 1),
        (Reason.CLIENT_GONE, 0),
        (Reason.DRAIN, 0),
        (Reason.UPSTREAM_LOST, 1),
        (Reason.INTERNAL_ERROR, 1),
        (Abort.PREEMPTED, 0),
        (Abort.UPSTREAM_CLOSED, 1),
        ("content_filter", 0),
        ("upstream_timeout", 1),
    ],
)
def test_a_turn_fails_by_what_is_not_its_client_s(reason: str, failed: int) -> None:
    shown = seen(having(turn(reason=reason)))

    assert shown["series"]["failed"][-1] == failed
    assert shown["reasons"] == {reason: 1}


def test_an_upstream_s_own_word_for_an_end_is_not_told_apart() -> None:
    figures = having(*(turn(reason=f"made up {number}") for number in range(50)))

    assert seen(figures)["reasons"] == {"other": 50}


def test_of_more_names_of_models_than_are_shown_the_rest_is_one() -> None:
    figures = having(
        charged(model="m" * 1000, cost_usd=Decimal(2)),
        charged(facts(model=None), model=None, cost_usd=Decimal(1)),
        *(charged(model=f"m{number}", tokens_in=1) for number in range(500)),
    )

    models = seen(figures)["models"]
    assert [row["model"] for row in models[:2]] == ["m" * NAME_MAX_CHARS, UNKNOWN]
    assert models[-1]["model"] == "other"
    assert len(models) == 101
    assert sum(row["tokens_in"] for row in models) == 500


def test_of_too_many_tenants_who_was_silent_longest_begins_anew() -> None:
    figures = having(tenants_max=2)
    for number, name in enumerate(["a", "b", "a", "c"]):
        figures.hear(turn(facts(tenant=name)), BEGAN + number)

    assert set(figures.tenants) == {"a", "c"}
    assert seen(figures, "a")["since"] == "2027-01-15T08:00:00.000Z"
    assert seen(figures, "c")["since"] == "2027-01-15T08:00:03.000Z"
    assert seen(figures, "b")["reasons"] == {}
    assert seen(figures)["reasons"] == {"completed": 4}


def test_times_to_the_first_output_are_told_for_the_minute_and_by_step() -> None:
    figures = having(*(turn(ttft_ms=ms) for ms in (100.0, 100.0, 900.0)), turn())

    shown = seen(figures)
    assert shown["now"]["ttft_p50_ms"] == pytest.approx(100, rel=0.19)
    assert shown["series"]["ttft_p99_ms"][-1] == pytest.approx(900, rel=0.19)


def test_the_statistics_are_the_overview_s_last_word() -> None:
    figures = having(opened(), charged(tokens_in=50, cost_usd=Decimal(3)), turn(ttft_ms=50.0))

    stats, whole = cast("dict[str, Any]", figures.stats("acme", BEGAN + 5)), seen(figures, "acme")
    assert stats["now"] == whole["now"]
    series = whole["series"]
    assert stats["step"] == {
        name: value[-1] if isinstance(value, list) else value for name, value in series.items()
    }
    assert stats["step"]["tokens_in"] == 50


def test_the_overview_is_json_and_of_bounded_size() -> None:
    figures = Figures(BEGAN)
    for number in range(3000):
        whose = facts(key=f"key{number}", tenant="t", model=None)
        event = charged(whose, model=f"m{number}", cost_usd=Decimal("0.000000001"))
        figures.hear(event, BEGAN + number)

    text = msgspec.json.encode(figures.overview("t", BEGAN + 3000))
    assert len(text) < 60_000
    assert FACTS.tenant not in text.decode()
