"""The order and the bounds of a conversation's items."""

from __future__ import annotations

import pytest

from relayd.sim.realtime import history as histories
from relayd.sim.realtime.client_events import Rejected
from relayd.sim.realtime.history import History, heard, weight
from relayd.sim.realtime.items import Item
from relayd.sim.realtime.usage import Tokens


def item(name: str, *, said: str = "", sound: bytes = b"") -> Item:
    return Item({"id": name}, Tokens(text=1), said=said, sound=sound)


def ids(history: History) -> list[str]:
    return [each.id for each in history.items]


def test_items_follow_each_other() -> None:
    history = History()

    assert [history.add(item(name)) for name in "abc"] == [None, "a", "b"]
    assert ids(history) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("after", "follows", "order"),
    [("root", None, "xabc"), ("a", "a", "axbc"), ("c", "c", "abcx"), (None, "c", "abcx")],
)
def test_an_item_goes_where_it_is_told_to(
    after: str | None, follows: str | None, order: str
) -> None:
    history = History()
    for name in "abc":
        history.add(item(name))

    assert history.add(item("x"), after) == follows
    assert ids(history) == list(order)


@pytest.mark.parametrize(
    ("name", "after", "code"),
    [("a", None, "item_create_duplicate_item_id"), ("b", "nobody", "invalid_value")],
)
def test_what_cannot_be_added_changes_nothing(name: str, after: str | None, code: str) -> None:
    history = History()
    history.add(item("a"))

    with pytest.raises(Rejected) as caught:
        history.add(item(name), after)

    assert caught.value.code == code
    assert ids(history) == ["a"]


def test_an_unknown_item_is_named_after_the_event_that_asked() -> None:
    with pytest.raises(Rejected) as caught:
        History().find("nobody", "retrieve")

    assert caught.value.code == "item_retrieve_invalid_item_id"


def test_a_removed_item_is_gone() -> None:
    history = History()
    history.add(item("a"))

    history.remove(history.find("a", "delete"))

    assert history.items == ()
    assert history.last_id is None


def test_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "ITEMS_MAX", 1)
    history = History()
    history.add(item("a"))

    with pytest.raises(Rejected) as caught:
        history.add(item("b"))

    assert caught.value.code == "conversation_full"


def test_the_oldest_sound_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "SOUND_MAX_BYTES", 10)
    history = History()
    for name in "abc":
        history.add(item(name, sound=b"12345"))

    assert [each.sound for each in history.items] == [b"", b"12345", b"12345"]


def test_the_last_thing_said_is_what_is_heard() -> None:
    said = [item("a", said="first"), item("b", said="second"), item("c")]

    assert heard(said) == "second"
    assert heard([]) == ""
    assert weight(said) == Tokens(text=3)
