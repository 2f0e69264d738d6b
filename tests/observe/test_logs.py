from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.observe import logs
from relayd.observe.events import EVENTS, LogEvent

Format: TypeAlias = Literal["json", "console"]

HEAD = ("ts", "level", "event")
CANARY = "sk-canary-1234567890"


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    yield
    logs.configure("json", "critical", io.BytesIO())


def written(
    call: Callable[[logs.Logger], object], *, form: Format = "json", level: str = "info"
) -> str:
    """What one call writes."""
    stream = io.BytesIO()
    logs.configure(form, level, stream)
    call(logs.get_logger())
    return stream.getvalue().decode()


def line_of(call: Callable[[logs.Logger], object]) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(written(call))
    return line


def crash(log: logs.Logger) -> None:
    secret = CANARY
    try:
        raise RuntimeError(f"no such header: {secret}")
    except RuntimeError:
        log.exception(LogEvent.SESSION_CRASHED, session_id="s1")


def test_it_is_known_before_a_line_is_made_whether_it_is_written() -> None:
    logs.configure("json", "warning", io.BytesIO())
    shown = [level for level in logs.LEVELS if logs.shows(level)]
    assert shown == ["warning", "error", "critical"]
    logs.set_level("debug")
    assert logs.shows("debug")


def test_a_line_starts_with_time_level_and_event_and_ends_with_a_newline() -> None:
    text = written(lambda log: log.info(LogEvent.ACCOUNT_COOLED, account="a"))

    assert text.endswith("}\n")
    assert tuple(json.loads(text))[:3] == HEAD


def test_the_time_is_rfc_3339_in_utc_with_milliseconds() -> None:
    line = line_of(lambda log: log.info(LogEvent.BREAKER_CLOSED, account="a"))

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])


@pytest.mark.parametrize("event", LogEvent)
def test_every_field_of_the_event_is_there_in_the_table_s_order_and_null_if_unknown(
    event: LogEvent,
) -> None:
    last = EVENTS[event].fields[-1]

    line = line_of(lambda log: log.info(event, **{last: "known"}))

    assert tuple(line) == HEAD + EVENTS[event].fields
    assert {name for name, value in line.items() if value is not None} == {*HEAD, last}


def test_bound_fields_are_in_each_line_of_the_logger() -> None:
    line = line_of(lambda log: log.bind(account="a").info(LogEvent.ACCOUNT_COOLED, until_s=5.0))

    assert (line["account"], line["until_s"]) == ("a", 5.0)


@pytest.mark.parametrize("method", ["debug", "info", "warning", "error", "critical"])
def test_a_level_hides_the_lower_ones(method: str) -> None:
    shown = [
        level
        for level in logs.LEVELS
        if written(lambda log: getattr(log, method)(LogEvent.BREAKER_CLOSED), level=level)
    ]

    assert shown == list(logs.LEVELS)[: list(logs.LEVELS).index(method) + 1]


def test_a_change_of_settings_reaches_loggers_that_exist() -> None:
    before, after = io.BytesIO(), io.BytesIO()
    logs.configure("json", "info", before)
    log = logs.get_logger()
    log.info(LogEvent.BREAKER_CLOSED)

    logs.configure("json", "warning", after)
    log.info(LogEvent.BREAKER_CLOSED)
    logs.set_level("info")
    log.info(LogEvent.BREAKER_CLOSED)

    assert before.getvalue().count(b"\n") == after.getvalue().count(b"\n") == 1


def test_a_decimal_is_a_number() -> None:
    text = written(lambda log: log.info(LogEvent.TURN_ENDED, cost_usd=Decimal("0.000123")))

    assert '"cost_usd":0.000123' in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_small_amount_has_no_exponent(form: Format) -> None:
    text = written(lambda log: log.info(LogEvent.TURN_ENDED, cost_usd=Decimal("7.0E-8")), form=form)

    assert re.search(r'cost_usd(":|=)0\.000000070\b', text)


def test_a_crash_carries_its_traceback_without_values_of_variables() -> None:
    text = written(crash)

    assert "in crash" in json.loads(text)["traceback"]
    assert CANARY not in text


@pytest.mark.parametrize("exc_info", [ValueError("x"), (ValueError, ValueError("x"), None)])
def test_an_exception_can_be_passed_from_elsewhere(exc_info: object) -> None:
    line = line_of(lambda log: log.error(LogEvent.SESSION_CRASHED, exc_info=exc_info))

    assert line["traceback"] == "ValueError: x"


def test_an_exception_can_be_the_traceback_itself() -> None:
    line = line_of(lambda log: log.error(LogEvent.SESSION_CRASHED, traceback=ValueError("x")))

    assert line["traceback"] == "ValueError: x"


def test_keys_in_headers_are_hidden_by_name() -> None:
    line = line_of(
        lambda log: log.info(LogEvent.CONNECTION_REFUSED, headers={"Authorization": CANARY})
    )

    assert line["headers"] == {"Authorization": "[redacted]"}


@pytest.mark.parametrize("form", ["json", "console"])
@given(text=st.text())
def test_no_text_of_a_peer_makes_a_line_of_its_own(form: Format, text: str) -> None:
    hostile = f'{text}\r\n\x85\u2028{{"event":"session.ended"}}\x1b[2J'

    out = written(lambda log: log.info(LogEvent.ACCOUNT_DISABLED, account=hostile), form=form)

    assert len(out.splitlines()) == 1
    assert out[:-1].isprintable()


def test_the_console_form_shows_what_is_known_and_quotes_what_could_mislead() -> None:
    text = written(
        lambda log: log.warning(LogEvent.ACCOUNT_DISABLED, account="main", reason="a=b c"),
        form="console",
    )

    assert text.split(maxsplit=1)[1] == ('warning account.disabled   account=main reason="a=b c"\n')


def test_the_console_form_indents_a_traceback_below_its_line() -> None:
    first, *rest = written(crash, form="console").splitlines()

    assert "session.crashed" in first
    assert rest
    assert all(row.startswith("    ") for row in rest)


def test_lines_that_standard_output_did_not_take_are_counted() -> None:
    class Broken(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError

    logs.configure("json", "info", Broken())
    logs.get_logger().info(LogEvent.BREAKER_CLOSED)

    assert logs.lines_lost() == 1
    assert logs.flush()
    logs.close(within_s=0.0)


def test_nothing_is_written_before_the_log_is_configured(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    program = (
        "from relayd.observe import logs; logs.get_logger().error('x');"
        "assert logs.flush() and logs.lines_lost() == 0"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)

    assert capfdbinary.readouterr() == (b"", b"")
