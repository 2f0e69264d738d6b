"""Messages and bytes are counted while a session is open, all of them and none twice."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from relayd.observe.metrics import Metric
from relayd.observe.metrics_values import Registry
from relayd.service.measuring_traffic import Traffic
from tests.service.measured import FACTS, FakeSession


def totals(registry: Registry) -> dict[tuple[str, str], float]:
    place = {"dialect": FACTS.dialect, "account": FACTS.account}
    return {
        (metric.name, way): registry.numbers(metric).value(direction=way, **place)
        for metric in (Metric.MESSAGES_TOTAL, Metric.BYTES_TOTAL)
        for way in ("up", "down")
    }


def session(session_id: str = "s1") -> FakeSession:
    return FakeSession.of(attrs.evolve(FACTS, session_id=session_id))


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 99), st.booleans()),
        max_size=30,
    )
)
def test_however_often_sessions_are_looked_at_all_counts_once(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    registry = Registry()
    traffic, sessions = Traffic(registry), [session(f"s{number}") for number in range(3)]
    messages = payload = 0

    for number, more, size, look in steps:
        sessions[number].relay(up=(more, size), down=(more, 2 * size))
        messages, payload = messages + more, payload + size
        if look:
            traffic.look_at(sessions[number])
    for each in sessions:
        traffic.ended(each.ended())

    assert totals(registry) == {
        ("MESSAGES_TOTAL", "up"): messages,
        ("MESSAGES_TOTAL", "down"): messages,
        ("BYTES_TOTAL", "up"): payload,
        ("BYTES_TOTAL", "down"): 2 * payload,
    }


def test_an_open_session_counts_when_it_is_looked_at() -> None:
    registry = Registry()
    traffic, opened = Traffic(registry), session()

    opened.relay(up=(1, 10), down=(2, 20))
    traffic.look_at(opened)
    traffic.look_at(opened)

    assert totals(registry) == {
        ("MESSAGES_TOTAL", "up"): 1,
        ("MESSAGES_TOTAL", "down"): 2,
        ("BYTES_TOTAL", "up"): 10,
        ("BYTES_TOTAL", "down"): 20,
    }


def test_a_session_that_is_just_being_opened_has_nothing_to_count() -> None:
    registry = Registry()
    traffic, opening = Traffic(registry), session()
    opening.upstream.flow = None

    traffic.look_at(opening)

    assert set(totals(registry).values()) == {0}


def test_a_session_that_never_told_its_end_is_forgotten() -> None:
    registry = Registry()
    traffic, lost, other = Traffic(registry), session("lost"), session("other")
    for each in (lost, other):
        each.relay(up=(1, 10))
        traffic.look_at(each)

    traffic.forget_all_but({"other": other})
    other.relay(up=(1, 10))
    traffic.look_at(other)
    again = session("lost")
    again.relay(up=(1, 10))
    traffic.look_at(again)

    assert totals(registry)["MESSAGES_TOTAL", "up"] == 4
