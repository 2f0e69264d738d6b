"""The dashboard in a browser, beside a made-up relay."""

from __future__ import annotations

import json
import time

import pytest

from tests.web.conftest import Visit

pytestmark = pytest.mark.slow

SESSION = "sess_00000000000000a1"
OTHER = "sess_00000000000000b2"
ROWS = "[...document.querySelectorAll('#sessions tbody tr:not(.spacer):not([hidden])')]"
EVENTS = "[...document.querySelectorAll('#events-list .event')]"


def row_of(session_id: str) -> str:
    """A script that finds a session's row; undefined where there is none."""
    return f"{ROWS}.find((row) => row.innerText.includes({json.dumps(session_id)}))"


def shows(session_id: str, *words: str) -> str:
    """A script that says whether a session is shown, with these words in its row."""
    return f"{json.dumps(words)}.every((word) => {row_of(session_id)}?.innerText.includes(word))"


async def test_a_key_is_pasted_once_and_never_stands_in_a_url(visit: Visit) -> None:
    await visit.sign_in()
    await visit.page.go(visit.url)
    await visit.until_live()

    assert "operator-key" not in str(await visit.page.run("location.href"))
    loads = await visit.page.run("performance.getEntries().map((entry) => entry.name).join()")
    assert "operator-key" not in str(loads)
    assert await visit.page.run("Object.keys(localStorage).length") == 0
    await visit.page.click("#sign-out")
    await visit.page.until("!document.querySelector('#sign-in').hidden")
    assert await visit.page.run("sessionStorage.length") == 0


async def test_a_wrong_key_is_refused_with_the_reason(visit: Visit) -> None:
    await visit.enter("another-key")

    await visit.page.until(
        "document.querySelector('#sign-in-problem').innerText.includes('not valid here')"
    )
    assert await visit.page.run("sessionStorage.length") == 0
    visit.page.problems.clear()  # the browser notes each 401


async def test_a_session_is_shown_when_it_begins_and_leaves_when_it_ends(visit: Visit) -> None:
    await visit.sign_in()
    assert "They appear here" in await visit.page.text("#sessions .empty")
    await visit.relay.open_session(SESSION, key="kiosk-a", tenant="kiosk")
    await visit.page.until(shows(SESSION, "kiosk-a", "kiosk", "idle", "gpt-realtime"))

    row = visit.relay.sessions[SESSION]
    await visit.relay.tell("turn.started", row, turn_id="resp_1")
    await visit.page.until(shows(SESSION, "busy"))
    await visit.relay.tell("turn.ended", row, turn_id="resp_1", reason="completed")
    await visit.page.until(shows(SESSION, "idle"))
    await visit.relay.end_session(SESSION, "upstream_lost")
    await visit.page.until(shows(SESSION, "upstream_lost"))
    await visit.page.until(f"!{row_of(SESSION)}")


async def test_an_operator_ends_a_session_after_being_asked(visit: Visit) -> None:
    await visit.relay.open_session(SESSION)
    await visit.relay.open_session(OTHER)
    await visit.sign_in()
    await visit.page.until(f"{row_of(SESSION)} && {row_of(OTHER)} && true")
    await visit.page.click("#sessions-filter")
    await visit.page.type(SESSION)
    await visit.page.until(f"{ROWS}.length === 1")
    await visit.page.press("Enter")
    await visit.page.press("ArrowDown")
    await visit.page.press("k")
    await visit.page.until("document.querySelector('#confirm').open")
    assert SESSION in await visit.page.text("#confirm-facts")
    assert visit.relay.killed == []
    visit.relay.refuses_kills = True
    await visit.page.click("#confirm-end")
    await visit.page.until("document.querySelector('#confirm-problem').innerText !== ''")
    visit.relay.refuses_kills = False
    await visit.page.click("#confirm-end")
    await visit.page.until("!document.querySelector('#confirm').open")

    assert visit.relay.killed == [SESSION]
    await visit.page.until(shows(SESSION, "killed"))
    visit.page.problems.clear()  # the browser notes the 404


async def test_a_user_sees_its_tenant_and_can_end_nothing(visit: Visit) -> None:
    visit.relay.keys["user-key"] = {"name": "kiosk-a", "role": "user", "tenant": "kiosk"}
    await visit.relay.open_session(SESSION, tenant="kiosk")
    await visit.relay.open_session(OTHER, tenant="somebody")
    await visit.sign_in("user-key")
    await visit.page.until(f"{row_of(SESSION)} && true")

    assert await visit.page.run(f"{ROWS}.length") == 1
    assert await visit.page.run("document.querySelector('.kill').offsetParent === null")
    assert await visit.page.run("document.querySelector('#accounts').hidden")
    assert "GET /api/v1/accounts" not in visit.relay.asked
    await visit.relay.open_session("sess_00000000000000c3", tenant="somebody")
    await visit.relay.open_session("sess_00000000000000d4", tenant="kiosk")
    await visit.page.until(shows("sess_00000000000000d4", "idle"))
    assert await visit.page.run(f"{ROWS}.length") == 2


async def test_figures_of_one_tenant_are_not_taken_for_those_of_all(visit: Visit) -> None:
    await visit.sign_in()
    now = visit.relay.overview["now"]
    visit.relay.overview["now"] = now | {"sessions": 41}
    await visit.relay.publish("stats", {"now": visit.relay.overview["now"]})
    await visit.page.until("document.querySelector('#now .value').innerText === '41'")
    tenant = (("kiosk", "tenant:kiosk"),)
    await visit.relay.publish("stats", {"now": now | {"sessions": 3}}, topics=tenant)
    await visit.relay.publish("node_resumed", {"node_id": "last"})
    await visit.page.until(f"{EVENTS}.length === 1")

    assert await visit.page.text("#now .value") == "41"


async def test_what_a_tenant_publishes_is_shown_and_not_believed(visit: Visit) -> None:
    await visit.relay.open_session(SESSION)
    await visit.sign_in()
    await visit.page.until(f"{row_of(SESSION)} && true")
    asked = len(visit.relay.asked)
    topics = (("globex", "workflow:x"),)
    now = visit.relay.overview["now"] | {"sessions": 7_777}
    for name, session_id in (
        ("session.ended", SESSION),
        ("session.opened", OTHER),
        ("resync_required", None),
        ("stats", None),
    ):
        await visit.relay.publish(name, {"now": now, "key": "root"}, session_id, topics)
    await visit.page.until(f"{EVENTS}.length === 4")

    assert await visit.page.run(shows(SESSION, "idle"))
    assert await visit.page.run(f"{ROWS}.length") == 1
    assert await visit.page.text("#now .value") != "7,777"
    assert "GET /api/v1/overview" not in visit.relay.asked[asked:]
    said = await visit.page.run(f"{EVENTS}.map((row) => row.querySelector('.about').innerText)")
    assert said == ["workflow:x"] * 4


async def test_messages_of_a_session_are_no_number_before_they_are_counted(visit: Visit) -> None:
    await visit.sign_in()
    await visit.relay.open_session(SESSION)
    visit.relay.sessions[SESSION] |= {"messages_up": 4, "messages_down": 91}
    await visit.page.until(f"{row_of(SESSION)} && true")
    down = f"{row_of(SESSION)}.querySelector('.c-messages_down').innerText"
    assert await visit.page.run(down) == "–"
    await visit.relay.end_session(SESSION)

    await visit.page.until(f"{down} === '91'")


async def test_a_lost_connection_says_so_and_goes_on_without_a_gap(visit: Visit) -> None:
    await visit.sign_in()
    await visit.relay.publish("node_resumed", {"number": 1})
    await visit.page.until(f"{EVENTS}.length === 1")
    await visit.relay.drop_clients()
    await visit.relay.publish("node_resumed", {"number": 2})
    await visit.until_live()
    await visit.relay.publish("node_resumed", {"number": 3})
    await visit.page.until(f"{EVENTS}.length === 3")

    said = await visit.page.run(
        f"{EVENTS}.map((row) => row.innerText.match(/number=(.)/)[1]).join()"
    )
    assert said == "3,2,1"
    assert "Last error" in str(await visit.page.run("document.querySelector('#connection').title"))
    visit.page.problems.clear()  # the browser notes what was lost


async def test_what_cannot_be_had_again_is_loaded_anew(visit: Visit) -> None:
    await visit.relay.open_session(SESSION)
    await visit.sign_in()
    await visit.page.until(f"{row_of(SESSION)} && true")
    visit.relay.replays, visit.relay.epoch = False, "00000000000000bb"
    del visit.relay.sessions[SESSION]
    await visit.relay.drop_clients(4001)

    await visit.page.until(f"!{row_of(SESSION)}")
    await visit.page.until("document.querySelector('#connection').dataset.phase === 'live'")


@pytest.mark.parametrize("code", [4503, 4504])
async def test_where_trying_again_cannot_help_it_stops_and_says_so(visit: Visit, code: int) -> None:
    await visit.sign_in()
    await visit.relay.drop_clients(code)
    await visit.page.until("document.querySelector('#connection').dataset.phase === 'stopped'")
    assert len(await visit.page.text("#banner-text")) > 20
    await visit.page.click("#banner-action")

    await visit.until_live()


async def test_a_key_that_is_valid_no_more_is_asked_for(visit: Visit) -> None:
    await visit.sign_in()
    visit.relay.keys.clear()
    await visit.relay.drop_clients(4500)

    await visit.page.until("!document.querySelector('#sign-in').hidden")
    assert await visit.page.text("#sign-in-problem") != ""
    assert await visit.page.run("sessionStorage.length") == 0
    visit.page.problems.clear()


async def test_events_are_held_still_and_filtered(visit: Visit) -> None:
    await visit.sign_in()
    await visit.relay.publish("node_resumed", {"number": 1})
    await visit.page.until(f"{EVENTS}.length === 1")
    await visit.page.press("p")
    await visit.relay.publish("execution:paused", {"number": 2})
    await visit.page.until("document.querySelector('#events-pause').innerText === 'Resume · 1 new'")
    assert await visit.page.run(f"{EVENTS}.length") == 1
    await visit.page.press("p")
    await visit.page.until(f"{EVENTS}.length === 2")
    await visit.page.press("e")
    await visit.page.type("event:paused")
    await visit.page.until(f"{EVENTS}.length === 1")
    await visit.page.press("Escape")
    await visit.page.until(f"{EVENTS}.length === 2")


async def test_tokens_of_streams_come_when_they_are_asked_for(visit: Visit) -> None:
    await visit.sign_in()
    (client,) = visit.relay.clients
    assert client.skipped == {"token_stream"}
    await visit.page.click("#events-streams")
    await visit.page.until("document.querySelector('#connection').dataset.phase === 'live'")
    topics = (("ops", "workflow:w"),)
    data = {"node_id": "n", "agent_id": "a", "chunk": "Hello"}
    while not any("token_stream" not in each.skipped for each in visit.relay.clients):
        await visit.page.run("new Promise(requestAnimationFrame)")
    await visit.relay.publish("token_stream", data, topics=topics)

    await visit.page.until(f"{EVENTS}[0]?.innerText.includes('Hello')")


async def test_hostile_names_are_text(visit: Visit) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    await visit.relay.open_session(SESSION, key=hostile, model=hostile)
    await visit.sign_in()
    await visit.relay.publish(hostile, {hostile: hostile})

    await visit.page.until(shows(SESSION, hostile))
    await visit.page.until(f"{EVENTS}[0]?.innerText.includes({json.dumps(hostile)})")
    assert await visit.page.run("document.querySelectorAll('#app img').length") == 0


async def test_colours_follow_the_system_or_the_choice_and_the_choice_is_kept(visit: Visit) -> None:
    await visit.page.look(1440, 900, media={"prefers-color-scheme": "dark"})
    await visit.sign_in()
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = await visit.page.run(colour)
    await visit.page.press("t")
    light = await visit.page.run(colour)
    assert light != dark
    await visit.page.go(visit.url)
    await visit.until_live()
    assert await visit.page.run(colour) == light
    await visit.page.press("t")
    assert await visit.page.run(colour) == dark


async def test_no_width_makes_the_page_scroll_sideways(visit: Visit) -> None:
    visit.relay.accounts = [
        {"name": "a" * 40, "provider": "openai", "dialects": [], "state": "open"}
        | {"sessions": 1, "sessions_max": 4, "enabled": True, "pool": None}
        | {"reason": "x" * 80, "until": None}
    ]
    await visit.relay.open_session(SESSION, key="k" * 60, model="m" * 120)
    await visit.sign_in()
    await visit.page.until(f"{row_of('idle')} && true")
    for width in (320, 360, 768, 1024, 1440, 1920):
        await visit.page.look(width, 800)
        await visit.page.run("new Promise(requestAnimationFrame)")

        assert await visit.page.run("document.documentElement.scrollWidth") == width


async def test_a_plot_says_the_numbers_under_the_crosshair(visit: Visit) -> None:
    series = visit.relay.overview["series"]
    series["ends_at"] = int(time.time()) // 5 * 5
    series["turns"] = [0] * 358 + [50, 100]
    await visit.sign_in()
    chart = "[...document.querySelectorAll('.plot')].find((e) => e.ariaLabel.startsWith('Turns'))"
    await visit.page.until(f"{chart}.ariaLabel.includes('ended 20')")
    await visit.page.run(f"{chart}.focus()")
    await visit.page.press("ArrowLeft")

    await visit.page.until(f"/ended 10.* at \\d\\d:\\d\\d:\\d\\d/.test({chart}.ariaLabel)")


async def test_two_thousand_sessions_are_a_few_rows_in_the_page(visit: Visit) -> None:
    for number in range(2_000):
        await visit.relay.open_session(f"sess_{number:016x}")
    await visit.sign_in()
    await visit.page.until("document.querySelector('#sessions-count').innerText.includes('2,000')")

    assert int(str(await visit.page.run(f"{ROWS}.length"))) < 60


async def test_keys_open_the_list_of_keys(visit: Visit) -> None:
    await visit.sign_in()
    await visit.page.press("?")

    await visit.page.until("document.querySelector('#help').open")
    await visit.page.press("Escape")
    await visit.page.until("!document.querySelector('#help').open")
