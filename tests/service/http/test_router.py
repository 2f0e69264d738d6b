"""The route table: what it takes, what it finds, what it says to the rest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.core.refusals import Refusal
from relayd.service.http.request import Request
from relayd.service.http.responses import Response, Text
from relayd.service.http.router import PARAMETER_MAX_BYTES, Route, Router
from tests.service.http.stage import Reply, Stage


async def show(request: Request) -> Response:
    parameters = ",".join(f"{name}={value}" for name, value in request.parameters.items())
    return Text(f"{request.route} {parameters}")


def routes(*lines: str) -> list[Route]:
    """Routes like ``GET /a/{b}``, each with a name of its own."""
    pairs = [line.split(" ") for line in lines]
    return [
        Route(method, pattern, show, f"route_{number}", "Shows itself.")
        for number, (method, pattern) in enumerate(pairs)
    ]


TABLE = routes(
    "GET /",
    "GET /v1/models",
    "POST /v1/responses",
    "GET /v1/responses/{id}",
    "DELETE /v1/responses/{id}",
    "POST /v1/responses/compact",
    "GET /v1/{kind}/{id}/items/{item}",
    "GET /v1/responses/{id}/items/{item}",
    "GET /v1/{kind}/{id}/items/first",
    "HEAD /own",
    "GET /own",
    "OPTIONS /asked",
    "GET /asked/",
)


async def asked(method: str, path: str) -> tuple[Stage, Reply]:
    stage = Stage(Router(TABLE))
    async with stage.client() as client:
        reply = await client.ask(method, path)
    return stage, reply


@pytest.mark.parametrize(
    ("method", "path", "shown"),
    [
        ("GET", "/", "/ "),
        ("GET", "/v1/models", "/v1/models "),
        ("GET", "/v1/responses/r1", "/v1/responses/{id} id=r1"),
        ("DELETE", "/v1/responses/r1", "/v1/responses/{id} id=r1"),
        ("POST", "/v1/responses/compact", "/v1/responses/compact "),
        ("GET", "/v1/x/y/items/z", "/v1/{kind}/{id}/items/{item} kind=x,id=y,item=z"),
        ("GET", "/v1/responses/y/items/z", "/v1/responses/{id}/items/{item} id=y,item=z"),
        ("GET", "/v1/x/y/items/first", "/v1/{kind}/{id}/items/first kind=x,id=y"),
        ("GET", "/v1/responses/first/items/first", None),
        ("OPTIONS", "/asked", "/asked "),
        ("GET", "/asked/", "/asked/ "),
        ("GET", "/v1/models?limit=3", "/v1/models "),
        ("GET", "/v1/responses/a%20b%C3%A9", "/v1/responses/{id} id=a bé"),
        ("GET", "/v1/responses/%2541", "/v1/responses/{id} id=%41"),  # decoded once
        ("GET", "/v1/responses/a+b", "/v1/responses/{id} id=a+b"),  # a plus is a plus in a path
    ],
)
async def test_a_request_is_handed_to_its_route(method: str, path: str, shown: str | None) -> None:
    stage, reply = await asked(method, path)

    shown = shown or "/v1/responses/{id}/items/{item} id=first,item=first"
    assert (reply.status, reply.body.decode()) == (200, shown)
    assert stage.facts[0].route == shown.split(" ")[0]


@pytest.mark.parametrize(
    "path",
    [
        "/x",
        "/v1/models/",
        "//v1/models",
        "/v1//models",
        "/V1/models",
        "/v1/%6dodels",
        "/v1/responses/",
        "/v1/responses//items/x",
        "/v1/models/../responses",
        "/v1/responses/a/b",
        "/v1/{kind}",
    ],
)
async def test_what_is_not_in_the_table_is_not_found(path: str) -> None:
    stage, reply = await asked("GET", path)

    assert reply.status == 404
    assert path not in reply.body.decode()
    assert stage.facts[0].route is None
    assert stage.facts[0].reason == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/models", "GET, HEAD"),
        ("OPTIONS", "/v1/models", "GET, HEAD"),
        ("GET", "/v1/responses", "POST"),
        ("HEAD", "/v1/responses", "POST"),
        ("PATCH", "/v1/responses/r1", "DELETE, GET, HEAD"),
        ("get", "/v1/models", "GET, HEAD"),
        ("POST", "/own", "GET, HEAD"),
        ("GET", "/asked", "OPTIONS"),
        ("GET", "/v1/responses/compact", "POST"),  # the first pattern that fits decides
    ],
)
async def test_a_path_with_other_methods_names_them(method: str, path: str, allow: str) -> None:
    stage, reply = await asked(method, path)

    assert (reply.status, reply.headers["allow"]) == (405, allow)
    assert stage.facts[0].reason == "method_not_allowed"


async def test_a_get_answers_head_unless_there_is_a_route_of_its_own() -> None:
    router = Router(TABLE)

    implied, own = router.find("HEAD", "/v1/models"), router.find("HEAD", "/own")

    assert isinstance(implied, Route)
    assert isinstance(own, Route)
    assert (implied.method, own.method) == ("GET", "HEAD")


@pytest.mark.parametrize(
    "value",
    [
        "%2e%2e",
        "..",
        ".",
        "a%2Fb",
        "a%00",
        "a%0d%0ab",
        "%ff",
        "%zz",
        "%",
        "x" * (PARAMETER_MAX_BYTES + 1),
        "%41" * (PARAMETER_MAX_BYTES + 1),
    ],
)
async def test_a_value_that_could_be_taken_for_something_else_is_refused(value: str) -> None:
    _, reply = await asked("GET", f"/v1/responses/{value}")

    assert reply.status == 400
    assert b'"code":"invalid_parameter"' in reply.body
    assert b'"param":"id"' in reply.body


async def test_the_longest_value_is_taken() -> None:
    _, reply = await asked("GET", "/v1/responses/" + "%41" * PARAMETER_MAX_BYTES)

    assert reply.body.decode().endswith("A" * PARAMETER_MAX_BYTES)


def test_the_table_can_be_listed() -> None:
    table = Router(TABLE).routes

    assert table == tuple(TABLE)
    assert table[6].parameters == ("kind", "id", "item")
    assert "show" not in repr(table[0])


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /a", "GET /a"],
        ["GET /a/{b}", "GET /a/{b}"],
        ["GET /a/{b}", "POST /a/{c}"],
        ["GET a"],
        ["GET "],
        ["GET //a"],
        ["GET /a//"],
        ["GET //"],
        ["GET /a/{B}"],
        ["GET /a/{b}c"],
        ["GET /a/{b}/{b}"],
        ["GET /a%20b"],
        ["get /a"],
        ["GET,POST /a"],
    ],
)
def test_a_table_with_a_mistake_is_not_made(lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Router(routes(*lines))


def test_two_routes_do_not_share_a_name() -> None:
    route = Route("GET", "/a", show, "same", "One.")

    with pytest.raises(ValueError, match="share a name"):
        Router([route, Route("GET", "/b", show, "same", "Another.")])


@given(st.lists(st.sampled_from(["v1", "responses", "x", "", "items", "first", "compact"])))
def test_what_is_found_fits(segments: Sequence[str]) -> None:
    path = "/" + "/".join(segments)
    found = Router(TABLE).find("GET", path)

    if isinstance(found, Refusal):
        fitting = [route for route in TABLE if fits(route, path)]
        assert all(route.method != "GET" for route in fitting) or path.endswith("/compact")
    else:
        assert fits(found, path)


def fits(route: Route, path: str) -> bool:
    own, given_segments = route.pattern.split("/"), path.split("/")
    return len(own) == len(given_segments) and all(
        bool(value) if part.startswith("{") else part == value
        for part, value in zip(own, given_segments, strict=True)
    )
