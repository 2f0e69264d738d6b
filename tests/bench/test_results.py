from __future__ import annotations

from pathlib import Path

import pytest

from bench import results
from bench.relays import RelayKind
from bench.results import RowResult, Run
from bench.rows import ROWS
from bench.target import Better, Target
from bench.targets import TARGETS
from bench.window import Limit

FACTS = {
    "cpu": "a processor",
    "cpus": "2",
    "kernel": "6.1",
    "python": "3.11.7",
    "openssl": "OpenSSL 3",
    "haproxy": "2.6",
    "revision": "abc",
}


def summarised(*runs: Run) -> RowResult:
    return results.summarise(ROWS["paced"], runs, seconds=2.0, facts=FACTS)


def run(relay: RelayKind, cpu_us: float, *, limit: Limit = Limit.NOTHING) -> Run:
    return Run(relay, {"cpu_us_per_message": cpu_us, "others_cpu_share": 0.0}, limit)


def test_medians_are_per_relay_and_the_ratio_is_relayds_to_haproxys() -> None:
    ours = [run(RelayKind.RELAYD, us) for us in (20.0, 18.0, 90.0)]
    theirs = [run(RelayKind.HAPROXY, us) for us in (10.0, 11.0, 2.0)]

    result = summarised(*ours, *theirs)

    assert result.medians["relayd"]["cpu_us_per_message"] == 20
    assert result.medians["haproxy"]["cpu_us_per_message"] == 10
    assert result.ratios == {"cpu_us_per_message": 2.0}
    assert result.parameters["runs"] == 3


def test_without_haproxy_there_is_no_ratio() -> None:
    result = summarised(run(RelayKind.RELAYD, 20.0))

    assert result.ratios == {}
    assert "haproxy" not in result.medians


def test_the_ratio_is_to_what_the_row_is_compared_with() -> None:
    runs = [run(RelayKind.RELAYD, 600.0), run(RelayKind.BARE, 200.0), run(RelayKind.HAPROXY, 1.0)]

    result = results.summarise(ROWS["turn"], runs, seconds=2.0, facts=FACTS)

    assert result.ratios == {"cpu_us_per_message": 3.0}


def test_a_relay_adds_what_its_delay_is_longer_than_without_one() -> None:
    figures = {
        RelayKind.RELAYD: {"delay_p50_ms": 0.75, "delay_p99_ms": 2.5},
        RelayKind.BARE: {"delay_p50_ms": 0.375, "delay_p99_ms": 1.0},
        RelayKind.DIRECT: {"delay_p50_ms": 0.25, "delay_p99_ms": 0.5},
    }
    runs = [Run(kind, each, Limit.NOTHING) for kind, each in figures.items()]

    result = results.summarise(ROWS["turn"], runs, seconds=2.0, facts=FACTS)

    assert result.medians["relayd"]["added_p50_ms"] == 0.5
    assert result.medians["relayd"]["added_p99_ms"] == 2.0
    assert result.medians["bare"]["added_p50_ms"] == 0.125
    assert "added_p50_ms" not in result.medians["direct"]
    assert result.ratios["added_p50_ms"] == 4.0


def test_without_a_direct_run_nothing_is_said_to_be_added() -> None:
    result = summarised(Run(RelayKind.RELAYD, {"delay_p50_ms": 0.7}, Limit.NOTHING))

    assert result.medians["relayd"] == {"delay_p50_ms": 0.7}


def test_a_file_holds_all_of_a_result(tmp_path: Path) -> None:
    result = summarised(run(RelayKind.RELAYD, 20.0), run(RelayKind.HAPROXY, 10.0))

    path = results.write(result, tmp_path / "new")

    assert path.name == "paced.json"
    assert [entry.name for entry in path.parent.iterdir()] == ["paced.json"]
    assert results.read_all(path.parent) == {"paced": result}


def test_the_generator_is_named_where_it_was_the_limit() -> None:
    result = summarised(
        run(RelayKind.RELAYD, 20.0),
        run(RelayKind.HAPROXY, 10.0, limit=Limit.GENERATOR),
        run(RelayKind.HAPROXY, 10.0),
    )

    assert result.notes() == [
        "paced: the generator's CPU, not haproxy, was the limit in 1 of 2 runs"
    ]


def test_other_programs_on_the_relays_cpu_are_named() -> None:
    result = summarised(Run(RelayKind.RELAYD, {"others_cpu_share": 0.2}, Limit.NOTHING))

    assert result.notes() == ["paced: other programs used 20% of relayd's CPU meanwhile"]


def test_turns_on_cold_sockets_are_named() -> None:
    runs = [Run(RelayKind.RELAYD, {"sockets_opened": 3.0}, Limit.NOTHING)]

    result = results.summarise(ROWS["turn"], runs, seconds=2.0, facts=FACTS)

    (note,) = result.notes()
    assert note.startswith("turn: relayd opened 3 upstream sockets meanwhile")


def test_a_row_is_in_doubt_where_others_were_busy_or_most_timetables_slipped() -> None:
    slipped = run(RelayKind.RELAYD, 20.0, limit=Limit.TIMETABLE)
    held = run(RelayKind.HAPROXY, 10.0)
    crowded = Run(RelayKind.HAPROXY, {"others_cpu_share": 0.06}, Limit.NOTHING)

    assert summarised(slipped, slipped, held).is_doubtful()
    assert not summarised(slipped, held).is_doubtful()
    assert summarised(held, crowded, crowded).is_doubtful()


@pytest.mark.parametrize(
    ("better", "value", "expected"),
    [
        (Better.LESS, 1.7, "then"),
        (Better.LESS, 1.71, "first"),
        (Better.LESS, 2.21, "no"),
        (Better.MORE, 3.0, "then"),
    ],
)
def test_a_value_reaches_the_furthest_target_it_meets(
    better: Better, value: float, expected: str
) -> None:
    target = Target(row="paced", label="", figure="", unit="", better=better, first=2.2, then=1.7)

    assert target.reached(value) == expected


def test_without_a_further_target_the_first_is_the_furthest() -> None:
    target = Target(row="turn", label="", figure="", unit="", better=Better.LESS, first=0.5)

    assert [target.reached(value) for value in (0.5, 0.51)] == ["first", "no"]


def test_what_has_no_target_reaches_none() -> None:
    target = Target(row="turn", label="", figure="", unit="", better=Better.LESS)

    assert target.reached(0.0) is None


def test_every_target_belongs_to_a_row_and_every_row_has_a_target() -> None:
    assert {target.row for target in TARGETS} == set(ROWS)
