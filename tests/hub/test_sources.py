"""What relayd tells the hub of itself: to whom, in which words, and nothing while nobody hears."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import get_args

import attrs
import pytest

from relayd.config.providers import Dialect
from relayd.dialect.hub_errors import Mistake
from relayd.dialect.hub_event import Position
from relayd.dialect.hub_publish import parse_publishing
from relayd.dialect.hub_topics import Scope, Selector, parse_selector
from relayd.dialect.hub_wanted import Wanted
from relayd.hub import sources
from relayd.hub.bounds import Bounds
from relayd.hub.figures import NAME_MAX_CHARS, Figures
from relayd.hub.hub import Hub
from relayd.hub.index import Subscriber
from relayd.hub.shared import Wire
from relayd.hub.sources import STATS, Sources
from relayd.hub.sources_devices import NAMES
from relayd.observe.bus import BusEvent
from relayd.observe.device_events import DeviceEvent
from tests.hub import events
from tests.hub.board import Board, Told
from tests.hub.events import facts

WALL = 1_795_000_000.25
HISTORY_S = 300.0
WHOSE: dict[str, object] = {
    "dialect": "realtime",
    "key": "dev",
    "tenant": "acme",
    "account": "main",
    "model": "voice",
}
OF_SESSION = (("acme", "session:sess_1"), ("acme", "tenant:acme"), ("", "ops"))
OF_REQUEST = (("acme", "tenant:acme"), ("", "ops"))
OF_ACCOUNT = (("", "ops"),)


@attrs.define
class Stage:
    """Sources, the hub that they tell, and the time."""

    board: Board = attrs.field(factory=Board)
    now: float = 10.0
    sources: Sources = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sources = Sources(
            topics=self.board,
            figures=Figures(began_at=self.wall()),
            clock=lambda: self.now,
            wall=self.wall,
            history_s=HISTORY_S,
        )

    def wall(self) -> float:
        return WALL + self.now - 10.0

    def told(self, event: BusEvent) -> Told:
        self.sources.hear(event)
        return self.board.told[-1]

    def tell_stats(self) -> list[Told]:
        before = len(self.board.told)
        for _ in self.sources.tell_stats():
            pass
        return self.board.told[before:]


@pytest.fixture
def stage() -> Stage:
    return Stage()


WORDS: list[tuple[BusEvent, str, dict[str, object]]] = [
    (
        events.opened(),
        "session.opened",
        WHOSE | {"admission_ms": 120.0, "connect_ms": 80.0, "first_frame_ms": None},
    ),
    (events.connected(), "session.connected", WHOSE | {"wait_ms": 80.0}),
    (
        events.failed_over(),
        "session.failed_over",
        WHOSE | {"account_from": "first", "reason": "server_error"},
    ),
    (
        events.over(),
        "session.ended",
        WHOSE
        | {"reason": "client_closed", "fault": "none", "duration_s": 12.5, "turns": 2}
        | {"messages_up": 3, "messages_down": 4, "bytes_up": 30, "bytes_down": 40}
        | {"tokens_in": 5, "tokens_out": 6, "cost_usd": 0.25},
    ),
    (events.started(), "turn.started", WHOSE | {"turn_id": "resp_1"}),
    (events.first_output(), "turn.first_output", WHOSE | {"turn_id": "resp_1", "ttft_ms": 250.0}),
    (
        events.tool_called(),
        "turn.tool_called",
        WHOSE | {"turn_id": "resp_1", "name": "look_up", "call_id": "call_1"},
    ),
    (
        events.turn(),
        "turn.ended",
        WHOSE
        | {"turn_id": "resp_1", "reason": "completed", "ttft_ms": None, "duration_ms": 900.0}
        | {"tokens_in": 7, "tokens_out": 8, "cost_usd": None},
    ),
    (events.refused(), "turn.refused", WHOSE | {"reason": "rate_limit_exceeded"}),
    (
        events.charged(tokens_in=3, tokens_out=4),
        "usage.charged",
        WHOSE
        | {"source": "response", "upstream_model": "gpt-realtime", "cost_usd": None}
        | {"tokens_in": 3, "tokens_out": 4, "tokens_in_text": 3, "tokens_out_text": 4}
        | {"tokens_in_audio": 0, "tokens_in_image": 0, "tokens_out_audio": 0}
        | {"tokens_in_cached_text": 0, "tokens_in_cached_audio": 0, "tokens_in_cached_image": 0},
    ),
    (
        events.failed(),
        "account.failed",
        {"account": "main", "dialect": "realtime", "reason": "server_error"},
    ),
    (
        events.changed(),
        "account.changed",
        {
            "account": "main",
            "reason": "limited",
            "state": "open",
            "until": "2026-11-18T11:07:10.250Z",
        },
    ),
]


# -- what is said, and to whom


@pytest.mark.parametrize(("event", "name", "data"), WORDS, ids=[name for _, name, _ in WORDS])
def test_every_event_of_the_bus_has_a_name_and_says_what_is_known(
    stage: Stage, event: BusEvent, name: str, data: dict[str, object]
) -> None:
    told = stage.told(event)

    assert (told.event, told.data) == (name, data)
    assert (told.now, told.wall, told.droppable) == (10.0, WALL, False)
    of_account = name.startswith("account.")
    assert told.topics == (OF_ACCOUNT if of_account else OF_SESSION)
    assert told.session_id == (None if of_account else "sess_1")


def test_no_event_of_the_bus_is_left_out() -> None:
    assert {type(event) for event, _, _ in WORDS} == set(get_args(BusEvent)) - set(
        get_args(DeviceEvent)  # see test_sources_devices.py
    )


def test_nobody_else_may_publish_what_relayd_tells() -> None:
    for name in (STATS, *NAMES.values(), *(name for _, name, _ in WORDS)):
        body = {"topic": "workflow:w1", "event": name, "data": {}}
        assert isinstance(parse_publishing(json.dumps(body).encode()), Mistake), name


def test_events_keep_their_order(stage: Stage) -> None:
    for event, _, _ in WORDS:
        stage.sources.hear(event)

    assert [told.event for told in stage.board.told] == [name for _, name, _ in WORDS]


@pytest.mark.parametrize(("event", "name", "data"), WORDS, ids=[name for _, name, _ in WORDS])
def test_a_tenant_is_told_of_nobody_else_and_of_no_account(
    stage: Stage, event: BusEvent, name: str, data: dict[str, object]
) -> None:
    if "session" in attrs.fields_dict(type(event)):
        event = attrs.evolve(event, session=facts(tenant="other"))  # type: ignore[arg-type]  # that is the point
    told = stage.told(event)

    assert "acme" not in {tenant for tenant, _ in told.topics}
    assert {name for tenant, name in told.topics if not tenant} == {"ops"}


def test_a_request_over_http_has_no_topic_and_is_named_by_its_id(stage: Stage) -> None:
    told = stage.told(events.started(facts(session_id="req_1", dialect="chat")))

    assert told.topics == OF_REQUEST
    assert told.session_id is None
    assert told.data["request_id"] == "req_1"


HUB = facts(dialect=Dialect.HUB)


@pytest.mark.parametrize("event", [events.opened(HUB), events.over(HUB)])
def test_nobody_is_told_who_listens(stage: Stage, event: BusEvent) -> None:
    stage.sources.hear(event)

    assert (stage.board.told, stage.board.skipped) == ([], [])


def test_what_clients_and_upstreams_name_is_cut(stage: Stage) -> None:
    long = "n" * 1000
    whose = facts(model=long)

    assert len(stage.told(events.opened(whose)).data["model"]) == NAME_MAX_CHARS
    turn = attrs.evolve(events.started(whose), turn_id=long)
    assert len(stage.told(turn).data["turn_id"]) == NAME_MAX_CHARS
    charged = events.charged(whose, model=long)
    assert len(stage.told(charged).data["upstream_model"]) == NAME_MAX_CHARS


def test_what_is_not_known_is_null(stage: Stage) -> None:
    opened = attrs.evolve(events.opened(facts(account="", model=None)), first_frame_ms=1.04)
    said = stage.told(opened).data
    assert (said["account"], said["model"], said["first_frame_ms"]) == (None, None, 1.0)

    assert stage.told(attrs.evolve(events.started(), turn_id=None)).data["turn_id"] is None
    assert stage.told(events.charged(model=None)).data["upstream_model"] is None
    assert stage.told(events.changed(retry_in_s=None)).data["until"] is None


# -- while nobody listens


UNWRITABLE = attrs.evolve(events.over(), cost_usd=object())  # type: ignore[arg-type]  # that is the point
"""Whoever makes JSON of it raises."""


def test_while_nobody_listens_nothing_is_made_and_histories_are_broken(stage: Stage) -> None:
    with pytest.raises(TypeError):
        stage.sources.hear(UNWRITABLE)
    quiet = Stage(Board(listeners=0))
    quiet.sources.hear(UNWRITABLE)

    assert quiet.board.told == []
    assert quiet.board.skipped == [OF_SESSION]


def test_who_went_a_moment_ago_finds_all_that_came_since(stage: Stage) -> None:
    stage.sources.hear(events.started())
    stage.board.listeners = 0
    stage.now += HISTORY_S - 1
    stage.sources.hear(events.first_output())
    assert (len(stage.board.told), stage.board.skipped) == (2, [])

    stage.now += 1
    stage.sources.hear(events.turn())
    assert (len(stage.board.told), stage.board.skipped) == (2, [OF_SESSION])


def test_a_history_that_nobody_has_looked_at_since_is_not_broken_again(stage: Stage) -> None:
    stage.board.listeners = 0
    stage.sources.hear(events.started())
    stage.sources.hear(events.turn())
    stage.sources.hear(events.changed())
    assert stage.board.skipped == [OF_SESSION]

    stage.board.looks += 1
    stage.sources.hear(events.changed())
    stage.sources.hear(events.turn())
    assert stage.board.skipped == [OF_SESSION, OF_ACCOUNT, OF_SESSION[:2]]


def test_of_too_many_broken_histories_some_are_broken_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BROKEN_MAX", 3)
    stage.board.listeners = 0
    for number in range(3):
        stage.sources.hear(events.opened(facts(session_id=f"sess_{number}")))

    assert [len(topics) for topics in stage.board.skipped] == [3, 1, 3]


def test_figures_count_whether_anybody_listens_or_not() -> None:
    stage = Stage(Board(listeners=0))
    stage.sources.hear(events.opened())
    stage.sources.hear(events.turn())

    overview = stage.sources.figures.overview("acme", stage.wall())
    assert overview["reasons"] == {"completed": 1}


# -- stats


def test_stats_go_where_somebody_follows_and_a_slow_client_is_spared_them(stage: Stage) -> None:
    stage.sources.hear(events.opened())
    stage.sources.hear(events.opened(facts(tenant="other")))
    stage.board.followed = {("", "ops"), ("acme", "tenant:acme")}

    of_all, of_tenant = stage.tell_stats()

    assert (of_all.topics, of_tenant.topics) == ((("", "ops"),), (("acme", "tenant:acme"),))
    for told in (of_all, of_tenant):
        assert (told.event, told.droppable, told.session_id) == ("stats", True, None)
        assert set(told.data) == {"now", "step"}
    assert of_all.data["now"]["sessions"] == 2
    assert of_tenant.data["now"]["sessions"] == 1


def test_stats_tell_the_figures_of_their_moment(stage: Stage) -> None:
    stage.board.followed = {("", "ops")}
    stage.sources.hear(events.turn(ttft_ms=100.0))
    stage.now += 5.0

    (told,) = stage.tell_stats()

    assert (told.now, told.wall) == (stage.now, stage.wall())
    assert told.data["step"]["turns"] == 1
    assert told.data["now"]["turns_per_s"] > 0


@pytest.mark.parametrize("board", [Board(listeners=0, followed={("", "ops")}), Board(listeners=3)])
def test_where_nobody_follows_there_are_no_stats(board: Board) -> None:
    stage = Stage(board)
    stage.sources.hear(events.opened())
    before = len(board.told)

    assert stage.tell_stats() == []
    assert len(board.told) == before


# -- in the hub


@attrs.define
class Reader:
    """A client of the hub."""

    hub: Hub
    client: Subscriber

    @classmethod
    def of(cls, hub: Hub, scope: Scope, *topics: str) -> Reader:
        selectors = [parse_selector(topic) for topic in topics or ("*",)]
        client = hub.subscriber(scope, Wire.SSE_OVERALL, lambda: None)
        reader = cls(hub, client)
        reader.follow(tuple(each for each in selectors if isinstance(each, Selector)))
        return reader

    def follow(self, topics: tuple[Selector, ...], since: Position | None = None) -> bool | None:
        wanted = Wanted(topics=topics) if since is None else Wanted(topics=topics, since=since)
        return self.hub.subscribe(self.client, wanted, 0.0).recovered

    def read(self) -> list[tuple[str, str]]:
        """Topic and name of what has come."""
        said = b"".join(self.client.outbox.take(1 << 20, 0.0)).decode().splitlines()
        found = [json.loads(line[6:]) for line in said if line.startswith("data: ")]
        return [(each["topic"], each["event"]) for each in found]


@attrs.define
class Live:
    """Sources that tell a hub."""

    hub: Hub = attrs.field(factory=lambda: Hub("0123456789abcdef", Bounds()))
    now: float = 0.0
    sources: Sources = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sources = Sources(
            topics=self.hub,
            figures=Figures(began_at=WALL),
            clock=lambda: self.now,
            wall=lambda: WALL + self.now,
            history_s=HISTORY_S,
        )


OTHERS = facts(tenant="other", session_id="sess_2")
EVERYTHING = Scope(tenant="acme", everything=True)
OPS_ONLY = (Selector("ops", is_prefix=False),)


def test_a_tenant_hears_of_itself_alone_and_an_operator_of_all_once_each() -> None:
    live = Live()
    acme = Reader.of(live.hub, Scope(tenant="acme"))
    other = Reader.of(live.hub, Scope(tenant="other"))
    operator = Reader.of(live.hub, Scope(tenant="acme", everything=True))

    for event, _, _ in WORDS:
        live.sources.hear(event)
    live.sources.hear(events.opened(OTHERS))
    for _ in live.sources.tell_stats():
        pass

    names = [name for _, name, _ in WORDS]
    ours = [("session:sess_1", name) for name in names if not name.startswith("account.")]
    assert acme.read() == [*ours, ("tenant:acme", "stats")]
    assert other.read() == [("session:sess_2", "session.opened"), ("tenant:other", "stats")]
    assert [name for _, name in operator.read()] == [*names, "session.opened", *3 * ["stats"]]


def test_a_topic_of_another_tenant_s_session_is_silent() -> None:
    live = Live()
    spy = Reader.of(live.hub, Scope(tenant="other"), "session:sess_1", "ops", "tenant:acme")
    for event, _, _ in WORDS:
        live.sources.hear(event)

    assert spy.read() == []


def test_who_comes_back_in_time_misses_nothing_and_later_is_told_so() -> None:
    live, scope = Live(), Scope(tenant="acme")
    first = Reader.of(live.hub, scope)
    everything = tuple(each.selector for each in first.client.followed.values())
    live.sources.hear(events.opened())
    live.hub.remove(first.client)
    left_at = Position(live.hub.epoch, live.hub.seq, overall=True)
    live.now = HISTORY_S - 1
    live.sources.hear(events.started())
    back = Reader(live.hub, live.hub.subscriber(scope, Wire.SSE_OVERALL, lambda: None))
    assert back.follow(everything, left_at) is True
    live.hub.remove(back.client)

    left_at = Position(live.hub.epoch, live.hub.seq, overall=True)
    live.now += HISTORY_S + 1
    live.sources.hear(events.turn())
    late = Reader(live.hub, live.hub.subscriber(scope, Wire.SSE_OVERALL, lambda: None))
    assert late.follow(everything, left_at) is False


def by_following(hub: Hub) -> Position:
    client = hub.subscriber(EVERYTHING, Wire.SSE_OVERALL, lambda: None)
    seq = hub.subscribe(client, Wanted(topics=OPS_ONLY), 0.0).seq
    hub.remove(client)
    return Position(hub.epoch, seq, overall=True)


def by_publishing(hub: Hub) -> Position:
    parsed = parse_publishing(b'{"topic": "workflow:a", "event": "e", "data": 1}')
    assert not isinstance(parsed, Mistake)
    made = hub.publish("acme", parsed.drafts[0], now=0.0, wall=0.0)
    return Position(hub.epoch, made.seq, overall=True)


PLACES: dict[str, Callable[[Hub], Position]] = {
    "followed": by_following,
    "published": by_publishing,
    "asked": lambda hub: Position(hub.epoch, hub.place(), overall=True),
    "position": lambda hub: hub.position("", "ops"),
    "history": lambda hub: hub.history("", "ops", now=0.0).position,
}


@pytest.mark.parametrize("learn", PLACES.values(), ids=PLACES)
def test_whoever_learns_a_place_while_nobody_listens_is_told_what_is_missing_behind_it(
    learn: Callable[[Hub], Position],
) -> None:
    live = Live()
    live.sources.hear(events.opened())
    place = learn(live.hub)
    live.sources.hear(events.turn())
    reader = Reader(live.hub, live.hub.subscriber(EVERYTHING, Wire.SSE_OVERALL, lambda: None))

    assert reader.follow(OPS_ONLY, place) is False
