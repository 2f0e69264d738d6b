"""What a client wants, as the query of a URL says it."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_errors import Mistake
from relayd.dialect.hub_event import Position
from relayd.dialect.hub_topics import EVERYTHING, SELECTORS_MAX, Filter, Selector
from relayd.dialect.hub_wanted import (
    FIELDS_MAX,
    LOST,
    TOO_MANY_TOPICS,
    Wanted,
    is_one_topic,
    parse_places,
    parse_query,
    parse_topics,
)
from tests.dialect.hub import EPOCH

ONE = Selector("workflow:w1", is_prefix=False)
ALL_WORKFLOWS = Selector("workflow:*", is_prefix=True)
IN_TOPIC = f"{EPOCH}:4"
OVERALL = f"{EPOCH}@9"


def wanted(query: str, last_event_id: str | None = None) -> Wanted:
    found = parse_query(query, last_event_id=last_event_id)
    assert isinstance(found, Wanted), found
    return found


def mistake(query: str) -> Mistake:
    found = parse_query(query)
    assert isinstance(found, Mistake), found
    return found


@pytest.mark.parametrize("query", ["", "topics=", "topics=,", "session_id=", "since=", "other=1"])
def test_who_names_nothing_follows_everything_from_now_on(query: str) -> None:
    found = wanted(query)

    assert found == Wanted()
    assert found.topics == (EVERYTHING,)
    assert not found.resumes
    assert found.since_for(EVERYTHING) is None


@pytest.mark.parametrize(
    ("query", "topics"),
    [
        ("topics=workflow:w1,workflow:*", (ONE, ALL_WORKFLOWS)),
        ("topics=workflow%3Aw1&topics=workflow%3A%2A", (ONE, ALL_WORKFLOWS)),
        ("topics=workflow:w1,,workflow:w1", (ONE,)),
        ("session_id=s1", (Selector("session:s1", is_prefix=False),)),
        ("session_id=s1&topics=workflow:w1", (Selector("session:s1", is_prefix=False), ONE)),
    ],
)
def test_topics_are_named_in_a_list_and_by_a_session(
    query: str, topics: tuple[Selector, ...]
) -> None:
    assert wanted(query).topics == topics


def test_events_are_chosen_by_two_lists() -> None:
    found = wanted("events=turn.*,error&except=turn.started")

    assert found.filter == Filter(("turn.*", "error"), ("turn.started",))


@pytest.mark.parametrize(
    ("query", "since"),
    [
        (f"topics=workflow:w1&since={IN_TOPIC}", Position(EPOCH, 4, overall=False)),
        (f"topics=workflow:w1&since={OVERALL}", Position(EPOCH, 9, overall=True)),
        (f"topics=workflow:*&since={OVERALL}", Position(EPOCH, 9, overall=True)),
        (f"since={quote(OVERALL)}", Position(EPOCH, 9, overall=True)),
    ],
)
def test_a_client_resumes_from_a_place(query: str, since: Position) -> None:
    found = wanted(query)

    assert found.resumes
    assert found.since_for(found.topics[0]) == since


@pytest.mark.parametrize(
    ("query", "header", "since"),
    [
        ("topics=workflow:w1&since=nonsense", IN_TOPIC, Position(EPOCH, 4, overall=False)),
        (f"since={EPOCH}@1", OVERALL, Position(EPOCH, 9, overall=True)),
        ("topics=workflow:*", IN_TOPIC, LOST),
        ("topics=workflow:w1,workflow:w2", IN_TOPIC, LOST),
        ("", "left behind by somebody else", LOST),
    ],
)
def test_what_a_browser_repeats_is_newer_and_never_a_mistake(
    query: str, header: str, since: Position
) -> None:
    assert wanted(query, header).since == since


def test_an_empty_last_event_id_is_none() -> None:
    assert not wanted("", "").resumes


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("topics=workflow:w1,nonsense", "topics[1]"),
        ("session_id=a b", "topics[0]"),
        ("events=a b", "events"),
        ("except=**", "except"),
        ("since=nonsense", "since"),
        (f"since={IN_TOPIC}", "since"),
        (f"topics=workflow:*&since={IN_TOPIC}", "since"),
        (f"topics=workflow:w1,workflow:w2&since={IN_TOPIC}", "since"),
        (f"since={OVERALL}&since={OVERALL}", "since"),
    ],
)
def test_a_mistake_says_where_it_is(query: str, param: str) -> None:
    found = mistake(query)

    assert (found.param, found.fatal) == (param, False)


def test_topics_and_parameters_are_bounded() -> None:
    names = [f"workflow:w{n}" for n in range(SELECTORS_MAX)]

    assert len(wanted("topics=" + ",".join(names)).topics) == SELECTORS_MAX
    assert mistake("topics=" + ",".join([*names, "ops"])).code == TOO_MANY_TOPICS
    assert wanted("&".join(["a=1"] * FIELDS_MAX)) == Wanted()
    assert mistake("&".join(["a=1"] * (FIELDS_MAX + 1))).fatal


def test_places_are_given_by_topic() -> None:
    places = parse_places((ONE, ALL_WORKFLOWS), {"workflow:w1": IN_TOPIC, "workflow:*": OVERALL})
    assert not isinstance(places, Mistake)
    found = Wanted(topics=(ONE, ALL_WORKFLOWS, EVERYTHING), since=places)

    assert found.resumes
    assert found.since_for(ONE) == Position(EPOCH, 4, overall=False)
    assert found.since_for(ALL_WORKFLOWS) == Position(EPOCH, 9, overall=True)
    assert found.since_for(EVERYTHING) is None


@pytest.mark.parametrize(
    "texts", [{"workflow:w2": IN_TOPIC}, {"workflow:*": IN_TOPIC}, {"workflow:w1": "1"}]
)
def test_a_place_of_another_topic_or_of_none_is_a_mistake(texts: dict[str, str]) -> None:
    found = parse_places((ONE, ALL_WORKFLOWS), texts)

    assert isinstance(found, Mistake)
    assert found.param == "since"


def test_no_topics_at_all_are_a_mistake_where_they_are_asked_for() -> None:
    assert isinstance(parse_topics([]), Mistake)


@pytest.mark.parametrize(
    ("topics", "one"),
    [((ONE,), True), ((ALL_WORKFLOWS,), False), ((ONE, ALL_WORKFLOWS), False), ((), False)],
)
def test_one_topic_is_one_name(topics: tuple[Selector, ...], one: bool) -> None:
    assert is_one_topic(topics) == one


NAMES = st.sampled_from(["topics", "session_id", "events", "except", "since", "x"])
TEXTS = st.text("ab*:,@%&= wor\n", max_size=12) | st.sampled_from(
    ["workflow:w1", "workflow:*", "*", IN_TOPIC, OVERALL, f"{EPOCH}:", "session:", "turn.*"]
)


@given(
    pairs=st.lists(st.tuples(NAMES, TEXTS), max_size=5),
    raw=st.text(max_size=20),
    header=st.none() | TEXTS,
)
def test_any_query_is_read_or_is_a_mistake(
    pairs: list[tuple[str, str]], raw: str, header: str | None
) -> None:
    for query in (urlencode(pairs), f"{urlencode(pairs)}&{raw}", raw):
        found = parse_query(query, last_event_id=header)

        if isinstance(found, Mistake):
            assert found.message
            continue
        assert 1 <= len(found.topics) == len(set(found.topics)) <= SELECTORS_MAX
        assert found.resumes or not header
