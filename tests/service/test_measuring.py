"""What sessions, turns and rows become in the metrics, and what never gets into them."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from trio.testing import MockClock

import relayd
from relayd.dialect.responses_aborts import Abort
from relayd.observe.bus import AccountFailed, Bus, BusEvent, TurnRefused, TurnStarted
from relayd.observe.metrics_labels import LISTENER, REQUEST_OUTCOME
from relayd.observe.metrics_text import TextFormat
from relayd.service.http.service import Outcome
from tests.service.measured import (
    CHARGED,
    ENDED,
    FACTS,
    OPENED,
    REQUEST,
    TURN,
    World,
    shown,
    text_of,
)

CANARY = "sk-canary-1234567890abcdef1234567890"


async def test_a_session_counts_when_it_opens_and_when_it_ends() -> None:
    measuring = World().measuring()

    measuring.hear(OPENED)
    measuring.hear(ENDED)

    assert await shown(measuring, "relayd_sessions_total") == {
        '{account="main",dialect="realtime",fault="none",reason="client_closed"}': 1
    }
    assert (await shown(measuring, "relayd_admission_seconds_sum"))['{dialect="realtime"}'] == 0.12
    assert await shown(measuring, "relayd_connect_seconds_sum") == {'{account="main"}': 0.08}
    assert await shown(measuring, "relayd_first_frame_seconds_sum") == {'{account="main"}': 0.03}
    assert await shown(measuring, "relayd_session_duration_seconds_sum") == {
        '{dialect="realtime"}': 12.5
    }


async def test_a_dialect_that_waits_for_no_first_frame_has_no_time_for_it() -> None:
    measuring = World().measuring()

    measuring.hear(attrs.evolve(OPENED, first_frame_ms=None))

    assert await shown(measuring, "relayd_first_frame_seconds_count") == {}


async def test_a_session_for_which_nothing_was_dialled_has_no_time_for_that() -> None:
    measuring = World().measuring()
    facts = attrs.evolve(FACTS, dialect="responses", account="", model=None)

    measuring.hear(attrs.evolve(OPENED, session=facts, connect_ms=0.0, first_frame_ms=None))

    assert await shown(measuring, "relayd_connect_seconds_count") == {}
    assert (await shown(measuring, "relayd_admission_seconds_count"))['{dialect="responses"}'] == 1


@pytest.mark.parametrize("abort", Abort)
async def test_a_turn_that_ends_without_its_upstream_s_word_has_the_account_it_went_to(
    abort: Abort,
) -> None:
    measuring = World().measuring()
    facts = attrs.evolve(FACTS, dialect="responses")

    measuring.hear(attrs.evolve(TURN, session=facts, reason=abort.value))

    assert await shown(measuring, "relayd_turns_total") == {
        f'{{account="main",dialect="responses",model="gpt-realtime",reason="{abort}"}}': 1
    }
    bugs = await shown(measuring, "relayd_bugs_caught_total")
    assert bugs == {"": int(abort is Abort.INTERNAL_LANE)}


async def test_a_turn_counts_with_its_times_under_the_account_s_name_for_its_model() -> None:
    measuring = World().measuring()

    measuring.hear(TurnStarted(session=FACTS, turn_id="resp_1"))
    measuring.hear(TURN)
    measuring.hear(attrs.evolve(TURN, ttft_ms=None, reason="upstream_silent"))

    where = 'account="main",dialect="realtime",model="gpt-realtime"'
    assert await shown(measuring, "relayd_turns_total") == {
        f'{{{where},reason="completed"}}': 1,
        f'{{{where},reason="upstream_silent"}}': 1,
    }
    assert await shown(measuring, "relayd_turn_duration_seconds_sum") == {
        '{dialect="realtime",model="gpt-realtime"}': 5.0
    }
    assert await shown(measuring, "relayd_ttft_seconds_count") == {
        '{account="main",model="gpt-realtime"}': 1
    }


async def test_the_kinds_of_tokens_add_up_to_what_the_row_says() -> None:
    measuring = World().measuring()

    measuring.hear(CHARGED)

    def of(direction: str, kind: str) -> str:
        return f'{{account="main",direction="{direction}",kind="{kind}",model="gpt-realtime"}}'

    assert await shown(measuring, "relayd_tokens_total") == {
        of("in", "text"): 25,
        of("in", "audio"): 45,
        of("in", "image"): 10,
        of("in", "cached"): 20,
        of("out", "text"): 20,
        of("out", "audio"): 40,
    }


async def test_tokens_of_no_kind_are_counted_too() -> None:
    measuring = World().measuring()

    measuring.hear(attrs.evolve(CHARGED, tokens_in=130, tokens_out=61))

    tokens = await shown(measuring, "relayd_tokens_total")
    assert sum(tokens.values()) == 191
    assert {value for labels, value in tokens.items() if 'kind="other"' in labels} == {30, 1}


async def test_what_has_a_price_costs_and_what_has_none_is_counted() -> None:
    measuring = World().measuring()

    measuring.hear(CHARGED)
    measuring.hear(attrs.evolve(CHARGED, cost_usd=Decimal("0.000000001")))
    measuring.hear(attrs.evolve(CHARGED, cost_usd=None))

    assert await shown(measuring, "relayd_cost_usd_total") == {
        '{account="main",model="gpt-realtime"}': pytest.approx(0.250000001)
    }
    assert await shown(measuring, "relayd_usage_unpriced_total") == {"": 1}


async def test_an_upstream_s_own_name_for_what_was_asked_for_changes_nothing() -> None:
    measuring = World().measuring()

    measuring.hear(attrs.evolve(CHARGED, upstream_model="gpt-realtime-2025-08-28"))
    measuring.hear(attrs.evolve(CHARGED, upstream_model=None))

    assert set(await shown(measuring, "relayd_cost_usd_total")) == {
        '{account="main",model="gpt-realtime"}'
    }


async def test_a_refused_connection_counts_by_what_is_known_of_it() -> None:
    measuring = World().measuring()

    measuring.refused(401, "invalid_api_key", "realtime")
    measuring.refused(0, "client_gone", None)

    assert await shown(measuring, "relayd_connections_refused_total") == {
        '{dialect="realtime",reason="invalid_api_key",status="401"}': 1,
        '{dialect="unknown",reason="client_gone",status="0"}': 1,
    }
    assert sum((await shown(measuring, "relayd_limits_refused_total")).values()) == 0


async def test_a_request_counts_by_route_and_by_how_it_ended() -> None:
    measuring = World().measuring()

    for facts in (
        REQUEST,
        REQUEST,
        attrs.evolve(REQUEST, status=0, outcome=Outcome.CLIENT_GONE),
        attrs.evolve(REQUEST, status=401, route=None, reason="invalid_api_key"),
    ):
        measuring.request_ended(facts, listener="public")
    measuring.request_ended(attrs.evolve(REQUEST, route="/livez"), listener="admin")

    assert await shown(measuring, "relayd_http_requests_total") == {
        '{listener="public",outcome="complete",route="/v1/models",status="200"}': 2,
        '{listener="public",outcome="client_gone",route="/v1/models",status="0"}': 1,
        '{listener="public",outcome="complete",route="other",status="401"}': 1,
        '{listener="admin",outcome="complete",route="/livez",status="200"}': 1,
    }
    assert await shown(measuring, "relayd_http_request_duration_seconds_sum") == {
        '{listener="public",route="/v1/models"}': pytest.approx(0.75),
        '{listener="public",route="other"}': 0.25,
        '{listener="admin",route="/livez"}': 0.25,
    }
    assert await shown(measuring, "relayd_bugs_caught_total") == {"": 0}


async def test_a_request_that_a_bug_ended_counts_as_a_bug() -> None:
    measuring = World(bugs=2).measuring()

    crashed = attrs.evolve(REQUEST, status=500, outcome=Outcome.CRASHED)
    measuring.request_ended(crashed, listener="public")
    measuring.crashed()

    assert await shown(measuring, "relayd_bugs_caught_total") == {"": 4}


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("listener", LISTENER.values)
async def test_every_outcome_has_a_series_of_its_own(outcome: Outcome, listener: str) -> None:
    measuring = World().measuring()

    measuring.request_ended(attrs.evolve(REQUEST, outcome=outcome), listener=listener)

    (labels,) = await shown(measuring, "relayd_http_requests_total")
    assert f'outcome="{outcome.value}"' in labels


def test_no_outcome_is_made_up() -> None:
    assert REQUEST_OUTCOME.values == tuple(Outcome)


async def test_a_limit_counts_before_a_session_and_within_one() -> None:
    measuring = World().measuring()

    measuring.refused(429, "insufficient_quota", "realtime")
    measuring.hear(TurnRefused(session=FACTS, reason="insufficient_quota"))
    measuring.hear(TurnRefused(session=FACTS, reason="rate_limit_exceeded"))
    measuring.hear(TurnRefused(session=FACTS, reason="ledger_unavailable"))

    assert await shown(measuring, "relayd_limits_refused_total") == {
        '{reason="rate_limit_exceeded"}': 1,
        '{reason="session_limit_reached"}': 0,
        '{reason="insufficient_quota"}': 2,
        '{reason="model_not_priced"}': 0,
    }


async def test_an_account_s_failures_count_by_words_that_relayd_knows() -> None:
    measuring = World().measuring()

    for reason in ("connect_timeout", "invalid_api_key", "http_503", "http_299", CANARY):
        measuring.hear(AccountFailed(account="main", dialect="realtime", reason=reason))

    assert await shown(measuring, "relayd_account_failures_total") == {
        '{account="main",reason="connect_timeout"}': 1,
        '{account="main",reason="invalid_api_key"}': 1,
        '{account="main",reason="http_503"}': 1,
        '{account="main",reason="other"}': 2,
    }


async def test_a_reload_says_how_it_went_and_when() -> None:
    world = World(wall=1000.0)
    measuring = world.measuring()
    assert await shown(measuring, "relayd_config_last_reload_timestamp_seconds") == {"": 1000}

    world.wall = 2000.0
    measuring.reloaded(applied=True)
    world.wall = 3000.0
    measuring.reloaded(applied=False)

    assert await shown(measuring, "relayd_config_reloads_total") == {
        '{outcome="applied"}': 1,
        '{outcome="refused"}': 1,
    }
    assert await shown(measuring, "relayd_config_last_reload_successful") == {"": 0}
    assert await shown(measuring, "relayd_config_last_reload_timestamp_seconds") == {"": 2000}


async def test_the_start_is_told_with_the_version() -> None:
    measuring = World(wall=1234.5).measuring()

    assert await shown(measuring, "relayd_process_start_time_seconds") == {"": 1234.5}
    assert await shown(measuring, "relayd_build_info") == {f'{{version="{relayd.__version__}"}}': 1}


async def test_a_session_that_a_bug_ended_counts_as_a_bug() -> None:
    measuring = World(bugs=2).measuring()

    measuring.hear(attrs.evolve(ENDED, reason="internal_error", fault="relay"))

    assert await shown(measuring, "relayd_bugs_caught_total") == {"": 3}


async def test_what_is_sampled_is_what_there_is_at_the_scrape() -> None:
    world = World(sessions_max=77, draining=True, lines_lost=3)
    measuring = world.measuring()
    world.ledger.rows_written, world.ledger.rows_lost = 10, 1
    world.ledger.pending, world.ledger.failing = 4, True
    world.hold.bytes_held = 600

    text = (await text_of(measuring)).splitlines()

    assert {
        "relayd_sessions_max 77.0",
        "relayd_draining 1.0",
        "relayd_log_lines_lost_total 3.0",
        "relayd_ledger_rows_written_total 10.0",
        "relayd_ledger_rows_lost_total 1.0",
        "relayd_ledger_pending_rows 4.0",
        "relayd_ledger_failing 1.0",
        "relayd_held_bytes 600.0",
        "relayd_held_bytes_max 1000.0",
    } <= set(text)


async def test_the_loop_and_the_collector_are_watched_while_it_runs(
    mock_clock: MockClock,
) -> None:
    measuring = World().measuring()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(measuring.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.1 + 0.75)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert await shown(measuring, "relayd_loop_delay_seconds_sum") == {"": pytest.approx(0.75)}
    assert await shown(measuring, "relayd_loop_pause_max_seconds") == {"": pytest.approx(0.75)}


def names() -> st.SearchStrategy[str]:
    return st.one_of(st.text(), st.sampled_from(["realtime", "main", "completed", CANARY]))


def events() -> st.SearchStrategy[BusEvent]:
    """Events as hostile as their fields can be; account and dialect are the configuration's."""
    facts = st.builds(
        lambda text, model: attrs.evolve(
            FACTS, session_id=text, key=text, tenant=text, model=model
        ),
        names(),
        st.none() | names(),
    )
    counts, times = st.integers(-(2**60), 2**60), st.floats(-1.0, 1e9)
    return st.one_of(
        st.builds(
            lambda session, ms: attrs.evolve(OPENED, session=session, admission_ms=ms),
            facts,
            times,
        ),
        st.builds(
            lambda session, reason, count: attrs.evolve(
                ENDED, session=session, reason=reason, fault=reason, bytes_up=count
            ),
            facts,
            names(),
            counts,
        ),
        st.builds(
            lambda session, reason, ms: attrs.evolve(
                TURN, session=session, reason=reason, turn_id=reason, ttft_ms=ms, duration_ms=ms
            ),
            facts,
            names(),
            times,
        ),
        st.builds(
            lambda session, model, count: attrs.evolve(
                CHARGED,
                session=session,
                upstream_model=model,
                tokens_in=count,
                tokens_out_text=count,
            ),
            facts,
            st.none() | names(),
            counts,
        ),
        st.builds(TurnRefused, session=facts, reason=names()),
        st.builds(AccountFailed, account=st.just("main"), dialect=names(), reason=names()),
    )


@given(st.lists(events(), max_size=12), st.integers(-1, 999), names(), st.none() | names())
def test_no_event_ends_the_metrics_or_shows_what_a_peer_chose(
    heard: list[BusEvent], status: int, reason: str, dialect: str | None
) -> None:
    bus, measuring = Bus(), World().measuring()
    bus.subscribe(measuring.hear)

    for event in heard:
        bus.publish(event)
    measuring.refused(status, reason, dialect)
    text = trio.run(text_of, measuring, TextFormat.OPENMETRICS)

    assert bus.failures == 0
    assert "canary" not in text
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # theirs has no types
    models = {
        sample.labels["model"]
        for family in families
        for sample in family.samples
        if "model" in sample.labels
    }
    assert models <= {"gpt-realtime", "other"}


async def test_nothing_of_a_key_is_ever_shown() -> None:
    world = World()
    measuring = world.measuring()
    facts = attrs.evolve(FACTS, session_id=CANARY, key=CANARY, tenant=CANARY, model=CANARY)
    world.open(CANARY, key=CANARY, tenant=CANARY, model=CANARY)

    measuring.hear(attrs.evolve(OPENED, session=facts))
    measuring.hear(attrs.evolve(TURN, session=facts, reason=CANARY, turn_id=CANARY))
    measuring.hear(attrs.evolve(CHARGED, session=facts, upstream_model=CANARY, source=CANARY))
    measuring.hear(TurnRefused(session=facts, reason=CANARY))
    measuring.hear(AccountFailed(account="main", dialect="realtime", reason=CANARY))
    measuring.refused(401, CANARY, CANARY)
    asked = attrs.evolve(REQUEST, request_id=CANARY, method=CANARY, key=CANARY, reason=CANARY)
    measuring.request_ended(attrs.evolve(asked, client_address=CANARY), listener="public")
    measuring.hear(attrs.evolve(ENDED, session=facts, reason=CANARY, fault=CANARY))

    for form in TextFormat:
        assert "canary" not in await text_of(measuring, form)
