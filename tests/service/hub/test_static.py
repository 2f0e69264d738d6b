"""The dashboard's files: what is served, under which policy, and what is not sent twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from relayd.service.http.router import Route, Router
from relayd.service.hub.static import POLICY, StaticFiles
from tests.service.http.stage import Client, Stage

PAGE, SCRIPT = b"<!doctype html>", b"export {}"
FILES = {
    "index.html": ("text/html; charset=utf-8", PAGE),
    "app.js": ("text/javascript; charset=utf-8", SCRIPT),
}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A browser."""
    files = StaticFiles(FILES)
    routes = [
        Route("GET", "/dashboard", files.index, "dashboard", ""),
        Route("GET", "/dashboard/", files.moved, "dashboard_moved", ""),
        Route("GET", "/dashboard/{file}", files.file, "dashboard_file", ""),
    ]
    async with Stage(Router(routes)).client() as client:
        yield client


async def test_the_page_is_at_the_path_itself(client: Client) -> None:
    reply = await client.ask("GET", "/dashboard")

    assert (reply.status, reply.body) == (200, PAGE)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"


async def test_a_file_comes_with_its_type(client: Client) -> None:
    reply = await client.ask("GET", "/dashboard/app.js")

    assert (reply.status, reply.body) == (200, SCRIPT)
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/app.js"])
async def test_everything_is_fenced_in(client: Client, path: str) -> None:
    headers = (await client.ask("GET", path)).headers

    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-cache"


def test_the_policy_names_no_outside_host_and_allows_nothing_inline() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))

    assert rules.pop("img-src") == "'self' data:"
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert set(rules.values()) == {"'none'", "'self'"}


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/none.js",
        "/dashboard/APP.JS",
        "/dashboard/app.js/",
        "/dashboard/../app.js",
        "/dashboard/static/app.js",
    ],
)
async def test_what_is_not_in_the_mapping_is_not_found(client: Client, path: str) -> None:
    assert (await client.ask("GET", path)).status == 404


@pytest.mark.parametrize("path", ["/dashboard/%2e%2e", "/dashboard/..%2fapp.js"])
async def test_a_path_within_a_segment_is_refused(client: Client, path: str) -> None:
    assert (await client.ask("GET", path)).status == 400


async def test_files_are_not_to_be_written(client: Client) -> None:
    reply = await client.ask("POST", "/dashboard/app.js", b"x")

    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_a_head_request_gets_the_head_alone(client: Client) -> None:
    reply = await client.ask("HEAD", "/dashboard")

    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-length"] == str(len(PAGE))


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
async def test_what_the_client_has_is_not_sent_again(client: Client, form: str) -> None:
    etag = (await client.ask("GET", "/dashboard/app.js")).headers["etag"]

    known = f"If-None-Match: {form.format(etag)}"
    reply = await client.ask("GET", "/dashboard/app.js", b"", known)

    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["etag"] == etag
    assert reply.headers["cache-control"] == "no-cache"


async def test_other_content_has_another_tag_and_is_sent(client: Client) -> None:
    etag = (await client.ask("GET", "/dashboard")).headers["etag"]

    reply = await client.ask("GET", "/dashboard/app.js", b"", f"If-None-Match: {etag}")

    assert (reply.status, reply.body) == (200, SCRIPT)


async def test_without_files_there_is_no_dashboard() -> None:
    router = Router([Route("GET", "/dashboard", StaticFiles({}).index, "dashboard", "")])
    async with Stage(router).client() as client:
        assert (await client.ask("GET", "/dashboard")).status == 404


async def test_with_a_slash_it_is_said_where_it_is(client: Client) -> None:
    reply = await client.ask("GET", "/dashboard/")

    assert (reply.status, reply.headers["location"]) == (308, "../dashboard")
