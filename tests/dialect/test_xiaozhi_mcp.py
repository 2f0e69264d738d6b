"""One device's JSON-RPC: relayd's own calls, what is remembered, and ids that stay apart."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from relayd.dialect import xiaozhi_mcp
from relayd.dialect.xiaozhi_mcp import (
    CALLS_MAX,
    OPEN_MAX,
    OWN_IDS,
    PAGES_MAX_BYTES,
    McpRelay,
    Relayed,
    TooManyCalls,
)

INITIALIZE = {"protocolVersion": "2024-11-05", "capabilities": {}}
INFO = {"serverInfo": {"name": "device"}}


def asks(number: int | str, method: str, params: object = None) -> bytes:
    fields = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
    return json.dumps(fields).encode()


def answers(number: int | str, result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()


def fields(payload: bytes | None) -> dict[str, Any]:
    assert payload is not None
    found: dict[str, Any] = json.loads(payload)
    return found


def known(relay: McpRelay) -> None:
    """The first server learns what the device is and has."""
    for number, (method, params, result) in enumerate(
        [
            ("initialize", INITIALIZE, INFO),
            ("tools/list", {"cursor": ""}, {"tools": [{"name": "a"}], "nextCursor": "p2"}),
            ("tools/list", {"cursor": "p2"}, {"tools": [{"name": "b"}]}),
        ],
        1,
    ):
        ask, answer = asks(number, method, params), answers(number, result)
        assert relay.from_server(ask, 0.0) == Relayed(onward=ask)
        assert relay.from_device(answer, 0.0) == Relayed(onward=answer)


def test_a_server_that_takes_over_is_answered_for_the_device() -> None:
    relay = McpRelay()
    known(relay)
    relay.lost()

    first = relay.from_server(asks(1, "initialize", INITIALIZE), 0.0)
    pages = [relay.from_server(asks("x", "tools/list", {"cursor": c}), 0.0) for c in ("", "p2")]

    assert fields(first.back) == {"jsonrpc": "2.0", "id": 1, "result": INFO}
    assert first.onward is first.to_device is None
    assert [fields(page.back)["result"]["tools"] for page in pages] == [
        [{"name": "a"}],
        [{"name": "b"}],
    ]
    notified = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    assert relay.from_server(notified, 0.0).onward is None
    assert relay.from_server(notified, 0.0).onward == notified


def test_a_server_that_asks_twice_is_answered_by_the_device() -> None:
    relay = McpRelay()
    known(relay)
    assert relay.from_server(asks(9, "tools/list"), 0.0).onward is not None


def test_what_the_device_has_not_said_is_asked_of_it() -> None:
    relay = McpRelay()
    relay.lost()
    assert relay.from_server(asks(1, "initialize", INITIALIZE), 0.0).onward is not None


def test_the_place_for_pictures_of_the_next_server_reaches_the_device() -> None:
    relay = McpRelay()
    known(relay)
    relay.lost()
    vision = {"capabilities": {"vision": {"url": "http://b.example/"}}}

    taken_over = relay.from_server(asks(1, "initialize", vision), 0.0)

    told = fields(taken_over.to_device)
    assert fields(taken_over.back)["result"] == INFO
    assert (told["method"], told["params"]) == ("initialize", vision)
    assert told["id"] in OWN_IDS
    swallowed = relay.from_device(answers(told["id"], INFO), 0.0)
    assert (swallowed.onward, swallowed.back, swallowed.called) == (None, None, None)


def test_a_private_place_for_pictures_does_not() -> None:
    relay = McpRelay()
    relay.refuses = lambda host: host == "10.0.0.1"
    vision = {"capabilities": {"vision": {"url": "http://10.0.0.1/"}}}
    onward = relay.from_server(asks(1, "initialize", vision), 0.0).onward
    assert fields(onward)["params"] == {"capabilities": {}}


def test_tools_that_have_changed_are_asked_for_again() -> None:
    relay = McpRelay()
    known(relay)
    changed = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
    assert relay.from_device(changed, 0.0).onward == changed
    assert relay.tools() is None
    relay.lost()
    assert relay.from_server(asks(1, "tools/list"), 0.0).onward is not None


def test_a_late_answer_is_never_taken_for_one_to_the_next_server() -> None:
    relay = McpRelay()
    relay.from_server(asks(5, "tools/call", {"name": "old"}), 0.0)
    assert relay.lost() == 1

    again = fields(relay.from_server(asks(5, "tools/call", {"name": "new"}), 0.0).onward)
    late = relay.from_device(answers(5, "old"), 0.0)
    answered = relay.from_device(answers(again["id"], "new"), 0.0)

    assert again["id"] in OWN_IDS
    assert (late.onward, late.why) == (None, "an answer nobody waits for")
    assert fields(answered.onward) == {"jsonrpc": "2.0", "id": 5, "result": "new"}
    assert relay.tool_calls == 2


@pytest.mark.parametrize("losses", [1, 2])
def test_a_late_answer_about_the_device_itself_spares_it_the_next_servers_question(
    losses: int,
) -> None:
    questions = [("initialize", INITIALIZE, INFO), ("tools/list", {"cursor": ""}, {"tools": []})]
    relay = McpRelay()
    for number, (method, params, _) in enumerate(questions, 1):
        ids = []
        for _ in range(losses):  # the second server's question goes on under another id
            onward = relay.from_server(asks(number, method, params), 0.0).onward
            ids.append(fields(onward)["id"])
            relay.lost()
    assert ids == [2, OWN_IDS.start + 1][:losses]

    for number, (_, _, result) in enumerate(questions):
        answer = answers((number + 1, OWN_IDS.start + number)[losses - 1], result)
        late = relay.from_device(answer, 1.0)
        assert late == Relayed(why="an answer nobody waits for", kept=True)

    for method, params, result in questions:
        told = relay.from_server(asks(1, method, params), 2.0)
        assert (told.onward, told.to_device) == (None, None)
        assert fields(told.back)["result"] == result


def test_a_late_answer_that_tells_nothing_of_the_device_is_not_kept() -> None:
    relay = McpRelay()
    relay.from_server(asks(1, "tools/call"), 0.0)
    relay.from_server(asks(2, "tools/list"), 0.0)
    relay.lost()
    error = json.dumps({"jsonrpc": "2.0", "id": 2, "error": {"code": 1}}).encode()
    for late in (answers(1, {}), error, answers(2, {"tools": []})):
        assert not relay.from_device(late, 1.0).kept
    assert relay.tools() is None


def test_an_id_that_is_no_number_is_not_looked_for_among_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Numbers:
        start = OWN_IDS.start

        def __contains__(self, number: object) -> bool:
            assert isinstance(number, int), "a range would be searched from end to end"
            return number in OWN_IDS

    monkeypatch.setattr(xiaozhi_mcp, "OWN_IDS", Numbers())
    relay = McpRelay()
    ask, answer = asks("a", "tools/call"), answers("a", {})
    assert relay.from_server(ask, 0.0) == Relayed(onward=ask)
    assert relay.from_device(answer, 1.0) == Relayed(onward=answer, took_s=1.0)


def test_what_a_server_asks_at_length_takes_little_room() -> None:
    relay = McpRelay()
    tracemalloc.start()
    try:
        for server in range(8):
            relay.from_server(asks(0, "initialize", {"x": "x" * 16_000}), 0.0)
            for number in range(OPEN_MAX):
                name = f"{server}-{number}-" + "x" * 100
                relay.from_server(asks(name, "tools/list", {"cursor": name + "x" * 1_900}), 0.0)
                relay.from_server(asks(name, "m" * 120), 0.0)
            relay.lost()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 150_000, held


def test_an_answer_under_another_id_is_swallowed_too_once_its_server_is_lost() -> None:
    relay = McpRelay()
    relay.from_server(asks(5, "tools/call"), 0.0)
    relay.lost()
    again = fields(relay.from_server(asks(5, "tools/call"), 0.0).onward)
    assert relay.lost() == 1
    assert relay.from_device(answers(again["id"], "late"), 0.0).onward is None


def test_a_call_of_relayds_own_is_answered_once() -> None:
    relay = McpRelay()
    call_id, payload = relay.call("tools/call", b'{"name":"x"}', 10.0)
    assert fields(payload)["id"] == call_id
    assert call_id in OWN_IDS

    answer = relay.from_device(answers(call_id, "done"), 0.0)
    assert answer.called is not None
    assert (answer.called.call_id, answer.onward) == (call_id, None)
    assert relay.from_device(answers(call_id, "again"), 0.0).called is None
    assert relay.expire(100.0) == []


def test_a_call_that_is_not_answered_fails_and_its_late_answer_is_nobodys() -> None:
    relay = McpRelay()
    call_id, _ = relay.call("tools/call", b"{}", 10.0)
    assert relay.deadline == 10.0
    assert relay.expire(9.9) == []

    (failed,) = relay.expire(10.0)

    assert fields(failed.answer)["error"]["code"] == -32001
    late = relay.from_device(answers(call_id, "late"), 0.0)
    assert (late.called, late.onward) == (None, None)
    assert relay.fail_all("gone") == []


def test_a_call_survives_a_server_and_not_the_device() -> None:
    relay = McpRelay()
    call_id, _ = relay.call("tools/call", b"{}", 10.0)
    relay.lost()
    assert [called.call_id for called in relay.fail_all("the device is gone")] == [call_id]


def test_a_servers_id_in_relayds_range_is_mapped() -> None:
    relay = McpRelay()
    call_id, _ = relay.call("tools/call", b"{}", 10.0)

    asked = fields(relay.from_server(asks(call_id, "tools/call"), 0.0).onward)

    assert asked["id"] != call_id
    assert relay.from_device(answers(call_id, "ours"), 0.0).called is not None
    assert fields(relay.from_device(answers(asked["id"], "theirs"), 0.0).onward)["id"] == call_id


def test_calls_and_what_is_remembered_have_bounds() -> None:
    relay = McpRelay()
    for _ in range(CALLS_MAX):
        relay.call("tools/call", b"{}", 10.0)
    with pytest.raises(TooManyCalls):
        relay.call("tools/call", b"{}", 10.0)
    for number in range(OPEN_MAX + 1):
        relay.from_server(asks(number, "tools/call"), 0.0)
    assert relay.from_device(answers(0, "late"), 0.0).onward is None
    assert relay.from_device(answers(1, "in time"), 0.0).onward is not None


def test_a_page_too_large_is_not_remembered() -> None:
    relay = McpRelay()
    relay.from_server(asks(1, "tools/list"), 0.0)
    page = answers(1, {"tools": ["x" * PAGES_MAX_BYTES]})
    assert relay.from_device(page, 0.0).onward == page
    assert relay.tools() is None


def test_the_tools_are_those_of_all_pages() -> None:
    relay = McpRelay()
    assert relay.tools() is None
    known(relay)
    tools = relay.tools()
    assert tools is not None
    assert [json.loads(bytes(tool)) for tool in tools] == [{"name": "a"}, {"name": "b"}]


def test_pages_in_a_circle_have_no_end() -> None:
    relay = McpRelay()
    relay.from_server(asks(1, "tools/list", {"cursor": "p"}), 0.0)
    relay.from_device(answers(1, {"tools": [], "nextCursor": "p"}), 0.0)
    relay.from_server(asks(2, "tools/list"), 0.0)
    relay.from_device(answers(2, {"tools": [], "nextCursor": "p"}), 0.0)
    assert relay.tools() is None


def test_ids_go_round_and_leave_out_those_that_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xiaozhi_mcp, "OWN_IDS", range(10, 13))
    relay = McpRelay()
    first, _ = relay.call("ping", b"{}", 10.0)
    seen = []
    for _ in range(4):
        call_id, _ = relay.call("ping", b"{}", 10.0)
        relay.from_device(answers(call_id, {}), 0.0)
        seen.append(call_id)

    assert (first, seen) == (10, [11, 12, 11, 12])


def test_calls_that_are_answered_take_no_room() -> None:
    relay = McpRelay()
    tracemalloc.start()
    try:
        for _ in range(2_000):
            call_id, _ = relay.call("ping", b"{}", 10.0)
            relay.from_device(answers(call_id, {}), 0.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 20_000  # an id that is kept takes 40 bytes


@pytest.mark.parametrize("payload", [b"[]", b"7", b'{"id":1,"id":2}', b'{"id":1,"method":'])
def test_what_is_no_json_rpc_goes_nowhere(payload: bytes) -> None:
    for read in (McpRelay().from_server, McpRelay().from_device):
        relayed = read(payload, 0.0)
        assert relayed.why is not None
        assert relayed.onward is relayed.back is None


def test_how_long_a_call_of_a_tool_took() -> None:
    relay = McpRelay()
    called, renumbered = asks(1, "tools/call", {}), asks(OWN_IDS.start, "tools/call", {})

    relay.from_server(called, 1.0)
    onward = relay.from_server(renumbered, 2.0).onward
    relay.from_server(asks(2, "ping"), 3.0)

    assert onward is not None
    number = json.loads(onward)["id"]
    took = [relay.from_device(answers(each, {}), 4.5).took_s for each in (1, number, 2, 1)]
    assert took == [3.5, 2.5, None, None]
