"""The hub's routes together: which there are, and that nobody is answered who is not known."""

from __future__ import annotations

import json

import pytest

from relayd.config.schema import ServerSettings
from relayd.core.endings import Reason
from relayd.service.hub.static import POLICY
from tests.service.admin.stage import WALL, PlayedSession
from tests.service.http.stage import Reply, request
from tests.service.hub.house import (
    KEYS,
    NARROW,
    OFF,
    OPERATOR,
    PUBLISHER,
    USER,
    House,
    bearer,
    configured,
    error_of,
    signed,
)
from tests.service.hub.test_live import begin
from tests.session.hub.signing import OTHER_SECRET, token

ROUTES = {
    "/api/v1/publish": "POST",
    "/api/v1/events": "GET",
    "/api/v1/me": "GET",
    "/api/v1/sessions": "GET",
    "/api/v1/overview": "GET",
    "/api/v1/accounts": "GET",
    "/api/v1/sessions/sess_1/kill": "POST",
}
"""Those that take a credential."""

ALLOWED = {"GET": "GET, HEAD, OPTIONS", "POST": "OPTIONS, POST"}

FILES = {"/dashboard": 200, "/dashboard/index.html": 200, "/dashboard/none.js": 404}
KILL = "/api/v1/sessions/sess_1/kill"


@pytest.fixture
async def house() -> House:
    """A relayd with one session."""
    sessions: dict[str, PlayedSession] = {}
    begin(sessions, 1)
    return House(sessions=sessions)


async def ask(house: House, method: str, path: str, *headers: str) -> Reply:
    return await house.ask(method, path, b"", *headers)


# -- the table


async def test_the_table_is_complete(house: House) -> None:
    routes = house.api.routes()

    assert {(each.pattern.replace("{session_id}", "sess_1"), each.method) for each in routes} == {
        *ROUTES.items(),
        *((path, "OPTIONS") for path in ROUTES),
        ("/dashboard", "GET"),
        ("/dashboard/", "GET"),
        ("/dashboard/{file}", "GET"),
    }
    assert {each.name for each in routes} == {
        *("hub_publish", "hub_events", "hub_me", "hub_sessions", "hub_overview"),
        *("hub_accounts", "hub_kill", "dashboard", "dashboard_moved", "dashboard_file"),
        *("hub_publish_options", "hub_events_options", "hub_me_options", "hub_sessions_options"),
        *("hub_overview_options", "hub_accounts_options", "hub_kill_options"),
    }


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        *((path, ALLOWED[method]) for path, method in ROUTES.items()),
        *((path, "GET, HEAD") for path in FILES),
    ],
)
@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
async def test_other_methods_are_refused_with_those_there_are(
    house: House, path: str, allowed: str, method: str
) -> None:
    reply = await ask(house, method, path, bearer(OPERATOR))

    assert error_of(reply)[:2] == (405, "method_not_allowed")
    assert reply.headers["allow"] == allowed


@pytest.mark.parametrize("path", [path for path, method in ROUTES.items() if method == "POST"])
async def test_what_changes_something_is_not_to_be_got(house: House, path: str) -> None:
    reply = await ask(house, "GET", path, bearer(OPERATOR))

    assert error_of(reply)[:2] == (405, "method_not_allowed")
    assert house.sessions["sess_1"].leaving is None


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1",
        "/api/v1/",
        "/api/v1/config",
        "/api/v1/reload",
        "/api/v1/drain",
        "/api/v1/keys",
        "/api/v1/accounts/talk/disable",
        "/api/v1/sessions/sess_1",
        "/api/v1/sessions//kill",
        "/api/v1/events/",
        "/API/v1/me",
        "/metrics",
        "/dashboard/a/b",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_there_is_nothing_else_and_no_admin_api(house: House, method: str, path: str) -> None:
    assert (await ask(house, method, path, bearer(OPERATOR))).status == 404


# -- who asks


@pytest.mark.parametrize(("path", "method"), ROUTES.items())
async def test_nobody_gets_an_answer_without_saying_who_it_is(
    house: House, path: str, method: str
) -> None:
    reply = await ask(house, method, path)

    assert error_of(reply)[:2] == (401, "missing_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.closes
    assert house.http.facts[0].key is None


@pytest.mark.parametrize(
    "credential",
    [
        "rk_wrong",
        OFF,
        token(OTHER_SECRET, exp=WALL + 60),
        token(exp=WALL + 60, without=("sub",)),
        "x.y.z",
        "é",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize(("path", "method"), ROUTES.items())
async def test_what_opens_nothing_is_refused_everywhere(
    house: House, path: str, method: str, credential: str
) -> None:
    async with house.client() as client:
        raw = request(method, path, b"", bearer(credential)).decode()
        await client.send(raw.encode("latin-1"))
        reply = await client.reply(method)

    assert error_of(reply)[:2] == (401, "invalid_api_key")
    assert credential.encode() not in reply.body
    assert house.sessions["sess_1"].leaving is None


@pytest.mark.parametrize(
    ("credential", "code"),
    [(NARROW, "dialect_not_allowed"), (token(exp=WALL - 31), "key_expired")],
)
@pytest.mark.parametrize(("path", "method"), ROUTES.items())
async def test_who_may_not_any_more_or_not_here_is_refused_everywhere(
    house: House, path: str, method: str, credential: str, code: str
) -> None:
    assert error_of(await ask(house, method, path, bearer(credential)))[:2] == (403, code)


async def test_two_credentials_are_one_too_many(house: House) -> None:
    reply = await ask(house, "GET", "/api/v1/me", bearer(USER), f"X-Api-Key: {OPERATOR}")

    assert error_of(reply)[:2] == (401, "invalid_api_key")


@pytest.mark.parametrize("query", [f"?access_token={OPERATOR}", f"?api_key={OPERATOR}"])
async def test_a_key_in_the_url_is_not_read(house: House, query: str) -> None:
    assert (await ask(house, "POST", KILL + query)).status == 401
    assert house.sessions["sess_1"].leaving is None


async def test_the_log_names_the_key_and_never_shows_it(house: House) -> None:
    await ask(house, "GET", "/api/v1/me", bearer(USER))
    await ask(house, "GET", "/api/v1/me", bearer(signed()))

    assert [facts.key for facts in house.http.facts] == ["user", "jwt:alice"]
    assert USER not in repr(house.http.facts)


async def test_each_sees_what_it_is(house: House) -> None:
    said = [
        json.loads((await ask(house, "GET", "/api/v1/me", bearer(who))).body)
        for who in (USER, PUBLISHER, OPERATOR)
    ]

    assert [(each["name"], each["tenant"], each["role"]) for each in said] == [
        ("user", "acme", "user"),
        ("engine", "acme", "publisher"),
        ("boss", "house", "operator"),
    ]


async def test_a_key_that_a_reload_took_away_opens_nothing_any_more(house: House) -> None:
    async with house.client() as client:
        first = await client.ask("GET", "/api/v1/me", b"", bearer(USER))
        house.apply(configured(KEYS[1:]))
        second = await client.ask("GET", "/api/v1/me", b"", bearer(USER))

    assert (first.status, second.status) == (200, 401)


# -- pages of other hosts


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://relay.example.evil.example",
        "http://relay.example:8080",
        "null",
        "",
        "relay.example",
    ],
)
@pytest.mark.parametrize(("path", "method"), ROUTES.items())
async def test_pages_of_other_hosts_get_and_do_nothing(
    house: House, path: str, method: str, origin: str
) -> None:
    reply = await ask(house, method, path, bearer(OPERATOR), f"Origin: {origin}")

    assert error_of(reply) == (403, "origin_not_allowed", "origin")
    assert house.sessions["sess_1"].leaving is None


async def test_an_origin_is_looked_at_before_the_key(house: House) -> None:
    reply = await ask(house, "GET", "/api/v1/me", "Origin: https://evil.example")

    assert error_of(reply)[1] == "origin_not_allowed"


@pytest.mark.parametrize("origin", ["http://relay.example", "https://relay.example"])
async def test_the_dashboard_itself_may_end_a_session(house: House, origin: str) -> None:
    reply = await ask(house, "POST", KILL, bearer(OPERATOR), f"Origin: {origin}")

    assert reply.status == 202
    assert house.sessions["sess_1"].leaving is Reason.KILLED


async def test_so_may_a_page_that_is_on_the_list(house: House) -> None:
    house.snapshot = configured(server=ServerSettings(allowed_origins=("https://app.example",)))
    ours = await ask(house, "POST", KILL, bearer(OPERATOR), "Origin: https://app.example")
    other = await ask(house, "POST", KILL, bearer(OPERATOR), "Origin: http://relay.example")

    assert (ours.status, other.status) == (202, 403)


@pytest.mark.parametrize("who", [USER, PUBLISHER, signed(publish=["*"])])
async def test_only_operators_end_sessions(house: House, who: str) -> None:
    reply = await ask(house, "POST", KILL, bearer(who))

    assert error_of(reply)[:2] == (403, "role_not_allowed")
    assert house.sessions["sess_1"].leaving is None


# -- the dashboard


@pytest.mark.parametrize(("path", "status"), FILES.items())
async def test_the_dashboard_needs_no_key(house: House, path: str, status: int) -> None:
    reply = await ask(house, "GET", path)

    assert reply.status == status
    if status == 200:
        assert reply.headers["content-security-policy"] == POLICY


async def test_the_dashboard_with_a_slash_is_sent_where_it_is(house: House) -> None:
    reply = await ask(house, "GET", "/dashboard/")

    assert (reply.status, reply.headers["location"], reply.body) == (308, "../dashboard", b"")


# -- a token in the URL


@pytest.mark.parametrize(("path", "method"), ROUTES.items())
async def test_a_token_in_the_url_opens_every_route(house: House, path: str, method: str) -> None:
    query = f"?access_token={signed(publish=['*'])}"
    if path.endswith("events"):
        async with house.client() as client:
            await client.send(request("GET", path + query))
            assert b" 200 " in await client.until(b"\r\n\r\n")
        return
    reply = await ask(house, method, path + query)

    error = json.loads(reply.body).get("error", {})
    expected = {"/api/v1/accounts": "role_not_allowed", KILL: "role_not_allowed"}
    expected["/api/v1/publish"] = "malformed_request"  # it has no body
    assert error.get("code") == expected.get(path), reply.body


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/sessions", "/api/v1/overview"])
async def test_no_token_is_shown_and_other_parameters_are_none_still(
    house: House, path: str
) -> None:
    made = signed()
    reply = await ask(house, "GET", f"{path}?access_token={made}&acces_token={made}")

    assert error_of(reply)[:2] == (400, "invalid_parameter")
    assert made.encode() not in reply.body
