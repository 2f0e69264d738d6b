from __future__ import annotations

from array import array

import pytest

from bench.frames import APPEND_FRAME_BYTES, DELTA_FRAME_BYTES
from bench.rows import Traffic
from bench.window import Limit, Sample, delay_figures, limit_of, traffic_figures

START = Sample(
    at_s=100.0,
    relay_cpu_s=1.0,
    load_cpu_s=(5.0, 6.0),
    relay_busy_s=50.0,
    received_bytes=1_000_000,
    completed=10,
)
SHARES = {"relay_cpu_share": 0.2, "generator_cpu_share": 0.2, "others_cpu_share": 0.0}


def after(
    *,
    relay_cpu_s: float = START.relay_cpu_s,
    load_cpu_s: tuple[float, ...] = START.load_cpu_s,
    relay_busy_s: float = START.relay_busy_s,
    received_bytes: int = START.received_bytes,
    completed: int = START.completed,
) -> Sample:
    """Two seconds later."""
    return Sample(
        at_s=102.0,
        relay_cpu_s=relay_cpu_s,
        load_cpu_s=load_cpu_s,
        relay_busy_s=relay_busy_s,
        received_bytes=received_bytes,
        completed=completed,
    )


def test_what_was_used_before_the_window_is_not_counted() -> None:
    end = after(relay_cpu_s=2.0, received_bytes=1_000_000 + 1000 * DELTA_FRAME_BYTES)

    figures = traffic_figures(START, end, Traffic.BURST, load_cpus=1)

    assert figures["messages"] == 1000
    assert figures["messages_per_s"] == 500
    assert figures["messages_per_cpu_s"] == 1000
    assert figures["cpu_us_per_message"] == 1000
    assert figures["relay_cpu_share"] == 0.5


def test_appends_are_counted_by_their_own_size() -> None:
    end = after(relay_cpu_s=2.0, received_bytes=1_000_000 + 7 * APPEND_FRAME_BYTES)

    assert traffic_figures(START, end, Traffic.APPEND, load_cpus=1)["messages"] == 7


def test_churn_counts_sessions() -> None:
    end = after(relay_cpu_s=2.0, completed=510)

    figures = traffic_figures(START, end, Traffic.CHURN, load_cpus=1)

    assert figures["sessions"] == 500
    assert figures["sessions_per_cpu_s"] == 500
    assert figures["cpu_ms_per_session"] == 2


@pytest.mark.parametrize(
    ("traffic", "noun", "nouns"),
    [
        (Traffic.TURNS, "turn", "turns"),
        (Traffic.LEASES, "lease", "leases"),
        (Traffic.CLAIMS, "lease", "leases"),
        (Traffic.CHUNKS, "chunk", "chunks"),
        (Traffic.FIRST, "answer", "answers"),
        (Traffic.EVENTS, "delivery", "deliveries"),
    ],
)
def test_what_is_completed_is_counted_by_its_own_name(
    traffic: Traffic, noun: str, nouns: str
) -> None:
    figures = traffic_figures(START, after(relay_cpu_s=1.5, completed=1010), traffic, load_cpus=1)

    assert figures[nouns] == 1000
    assert figures[f"cpu_us_per_{noun}"] == 500


def test_without_a_relay_there_is_no_figure_per_cpu() -> None:
    end = after(received_bytes=1_000_000 + 1000 * DELTA_FRAME_BYTES)

    figures = traffic_figures(START, end, Traffic.BURST, load_cpus=1)

    assert "cpu_us_per_message" not in figures
    assert figures["messages_per_s"] == 500


def test_the_generator_is_as_busy_as_its_busiest_process_or_its_cpus() -> None:
    end = after(load_cpu_s=(6.6, 6.4))

    assert traffic_figures(START, end, Traffic.BURST, load_cpus=1)[
        "generator_cpu_share"
    ] == pytest.approx(1.0)
    assert traffic_figures(START, end, Traffic.BURST, load_cpus=2)[
        "generator_cpu_share"
    ] == pytest.approx(0.8)


def test_what_keeps_the_relays_cpu_busy_beside_it_are_others() -> None:
    end = after(relay_cpu_s=2.0, relay_busy_s=51.5)

    figures = traffic_figures(START, end, Traffic.BURST, load_cpus=1)

    assert figures["others_cpu_share"] == pytest.approx(0.25)


def test_delays_and_lateness_are_told_in_milliseconds() -> None:
    delays = array("q", [n * 1_000_000 for n in range(1, 101)])

    figures = delay_figures(delays, array("q"))

    assert figures == {"delay_p50_ms": 50, "delay_p99_ms": 99, "delay_max_ms": 100}


@pytest.mark.parametrize(
    ("changes", "planned_per_s", "expected"),
    [
        ({"relay_cpu_share": 0.97}, 0.0, Limit.RELAY),
        ({"relay_cpu_share": 0.75, "others_cpu_share": 0.2}, 0.0, Limit.RELAY),
        ({"relay_cpu_share": 0.5, "generator_cpu_share": 0.95}, 0.0, Limit.GENERATOR),
        ({}, 0.0, Limit.NOTHING),
        ({"messages_per_s": 20_000.0, "others_cpu_share": 0.7}, 20_000.0, Limit.NOTHING),
        ({"messages_per_s": 15_000.0, "relay_cpu_share": 0.99}, 20_000.0, Limit.RELAY),
        ({"messages_per_s": 20_000.0, "lateness_p99_ms": 2.5}, 20_000.0, Limit.TIMETABLE),
        ({"messages_per_s": 19_999.0, "lateness_p99_ms": 0.5}, 20_000.0, Limit.NOTHING),
        ({"turns_per_s": 320.0, "others_cpu_share": 0.9}, 320.0, Limit.NOTHING),
        ({"turns_per_s": 200.0, "relay_cpu_share": 0.95}, 320.0, Limit.RELAY),
        ({"chunks_per_s": 5_000.0, "relay_cpu_share": 0.95}, 5_000.0, Limit.NOTHING),
        ({"answers_per_s": 20.0, "relay_cpu_share": 0.95}, 32.0, Limit.RELAY),
    ],
)
def test_who_was_the_limit(
    changes: dict[str, float], planned_per_s: float, expected: Limit
) -> None:
    assert limit_of(SHARES | changes, planned_per_s=planned_per_s) is expected
