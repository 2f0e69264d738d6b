from __future__ import annotations

import io

import pytest

from bench import results, table
from bench.handshake import Dialect
from bench.progress import Progress
from bench.relays import RelayKind
from bench.results import Run
from bench.rows import ROWS, Row
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


def result_of(row: Row, ours: dict[str, float], theirs: dict[str, float]) -> results.RowResult:
    runs = [
        Run(RelayKind.RELAYD, ours, Limit.NOTHING),
        Run(RelayKind.HAPROXY, theirs, Limit.NOTHING),
    ]
    return results.summarise(row, runs, seconds=2.0, facts=FACTS)


def lines_about(text: str, label: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"| {label} ")]


def test_a_line_has_both_figures_their_ratio_the_targets_and_which_is_reached() -> None:
    row = ROWS["append"]
    result = result_of(row, {"cpu_us_per_message": 2.31}, {"cpu_us_per_message": 0.66})

    (line,) = lines_about(table.markdown({"append": result}), "CPU per message upstream-bound,")

    assert line.endswith("| 2.31 µs | 0.66 µs | 3.5 × | ≤ 4 × | ≤ 3 × | first |")


def test_memory_is_judged_by_relayds_own_figure() -> None:
    result = result_of(ROWS["idle"], {"kb_per_session": 14.0}, {"kb_per_session": 4.0})

    (line,) = lines_about(table.markdown({"idle": result}), "memory per idle session |")

    assert line.endswith("| 14 KB | 4 KB | 3.5 × | ≤ 24 KB | ≤ 16 KB | then |")


def test_a_line_of_a_disturbed_row_ends_in_doubt() -> None:
    crowded = {"kb_per_session": 14.0, "others_cpu_share": 0.5}
    result = result_of(ROWS["idle"], crowded, crowded)

    (line,) = lines_about(table.markdown({"idle": result}), "memory per idle session |")

    assert line.endswith("| then ? |")


def test_what_was_not_measured_is_a_dash() -> None:
    lines = table.markdown({}).splitlines()
    unmeasured = [line for line in lines if "| – | – | – | " in line and line.endswith("| – |")]

    assert len(unmeasured) == len(TARGETS)
    assert len(lines) == len(TARGETS) + 6 * len(["head", "rule"]) + 5 * len(["a line between"])


def test_each_target_stands_in_the_table_of_what_its_row_is_compared_with() -> None:
    tables = {
        (Dialect.REALTIME, RelayKind.HAPROXY): "HAProxy",
        (Dialect.RESPONSES, RelayKind.BARE): "bare relay",
        (Dialect.CHAT, RelayKind.BARE): "bare relay",
        (Dialect.CHAT, RelayKind.COLD): "none ready",
        (Dialect.HUB, RelayKind.BARE): "bare broadcaster",
        (Dialect.XIAOZHI, RelayKind.DIRECT): "no relay",
    }
    texts = dict(zip(tables, table.markdown({}).split("\n\n"), strict=True))

    for key, name in tables.items():
        assert texts[key].startswith(f"| | relayd | {name} | ratio |")
    for target in TARGETS:
        row = ROWS[target.row]
        assert f"| {target.label} |" in texts[row.dialect, row.beside or RelayKind.BARE]


def test_a_turns_line_has_what_each_relay_adds_to_none() -> None:
    row = ROWS["turn"]
    runs = [
        Run(kind, {"delay_p50_ms": delay_ms}, Limit.NOTHING)
        for kind, delay_ms in zip(row.compared, (0.5, 0.3, 0.1), strict=True)
    ]
    result = results.summarise(row, runs, seconds=2.0, facts=FACTS)

    (line,) = lines_about(
        table.markdown({"turn": result}), "delay that is added to a turn of 20 events at once, p50"
    )

    assert line.endswith("| 0.4 ms | 0.2 ms | 2 × | ≤ 0.5 ms | – | first |")


def test_what_is_compared_with_nothing_has_neither_another_nor_a_ratio() -> None:
    runs = [Run(RelayKind.RELAYD, {"cpu_us_per_lease": 60.0}, Limit.RELAY)]
    result = results.summarise(ROWS["pool"], runs, seconds=2.0, facts=FACTS)

    (line,) = lines_about(table.markdown({"pool": result}), "CPU to acquire and yield")

    assert line.endswith("| 60 µs | – | – | ≤ 50 µs | – | no |")


def test_a_figure_without_a_target_is_shown_and_not_judged() -> None:
    runs = [Run(RelayKind.RELAYD, {"cpu_us_per_lease": 9.0}, Limit.RELAY)]
    result = results.summarise(ROWS["book"], runs, seconds=2.0, facts=FACTS)

    (line,) = lines_about(table.markdown({"book": result}), "of that, the pool's decisions")

    assert line.endswith("| 9 µs | – | – | – | – | – |")


def test_the_machine_is_named_once_below_the_table() -> None:
    measured = {
        name: result_of(ROWS[name], {"kb_per_session": 14.0}, {}) for name in ("idle", "idle-tls")
    }

    text = table.markdown(measured)

    assert text.count("a processor, Linux 6.1, Python 3.11.7, OpenSSL 3, HAProxy 2.6.") == 1


def test_a_rows_figures_stand_in_a_column_per_relay() -> None:
    result = result_of(ROWS["idle"], {"kb_per_session": 14.0}, {"kb_per_session": 4.0})

    head, names, line = table.figures_of(result).splitlines()

    assert head.startswith("idle, 3,000 sessions: ")
    assert names.split() == ["relayd", "haproxy", "ratio"]
    assert line.split() == ["kb_per_session", "14", "4", "3.5"]


def test_a_pools_row_has_slots() -> None:
    runs = [Run(RelayKind.RELAYD, {"cpu_us_per_lease": 9.0}, Limit.RELAY)]
    result = results.summarise(ROWS["pool"], runs, seconds=2.0, facts=FACTS)

    assert table.figures_of(result).startswith("pool, 10,000 slots: ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "–"), (0.0, "0"), (0.12345, "0.123"), (16.72, "16.7"), (1481921.4, "1,481,921")],
)
def test_numbers_have_three_digits_or_all_before_the_point(
    value: float | None, expected: str
) -> None:
    assert table.number(value) == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_overwritten_on_a_terminal() -> None:
    terminal = Terminal()
    progress = Progress(terminal)
    progress.show("one")
    progress.clear()

    assert terminal.getvalue() == "\r\x1b[Kone\r\x1b[K"


def test_progress_writes_nothing_into_a_pipe() -> None:
    pipe = io.StringIO()
    Progress(pipe).show("one")

    assert pipe.getvalue() == ""
