"""The table of routes."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from relayd.service.admin.routes import DESCRIBED, OPERATIONS, Operation
from tests.service.admin.stage import Stage, error_of


def path_of(operation: Operation) -> str:
    """One that the operation's pattern fits."""
    return operation.pattern.format(
        session_id="sess_1", name="talk", device_id="24:0a:c4:00:00:01", tool="self.lamp"
    )


@pytest.mark.parametrize("operation", DESCRIBED, ids=lambda operation: operation.name)
async def test_every_route_has_a_handler_and_takes_no_other_method(
    stage: Stage, operation: Operation
) -> None:
    router = stage.admin().router
    path = path_of(operation)
    found = {route.pattern: route for route in router.routes}[operation.pattern]

    assert (found.name, found.summary) == (operation.name, operation.summary)
    for method in ("PUT", "DELETE", "GET" if operation.method == "POST" else "POST"):
        reply = await stage.ask(method, path)

        assert reply.status == 405
        assert operation.method in reply.headers["allow"]
        assert error_of(reply)["code"] == "method_not_allowed"


async def test_the_probes_are_served_without_anything_else(stage: Stage) -> None:
    admin = stage.admin(probes_only=True)
    async with stage.client(admin=admin) as client:
        for operation in OPERATIONS:
            if operation.method == "GET" and "{" not in operation.pattern:
                reply = await client.ask("GET", operation.pattern)

                assert reply.status == (200 if operation.is_probe else 404)


@pytest.mark.parametrize(
    "operation", [each for each in DESCRIBED if each.method == "GET"], ids=lambda each: each.name
)
async def test_a_head_request_gets_the_same_head_without_the_body(
    autojump_clock: MockClock, stage: Stage, operation: Operation
) -> None:
    stage.session(1)
    path = path_of(operation)
    async with stage.client() as client:
        whole = await client.ask("GET", path)
        head = await client.ask("HEAD", path)

    assert (head.status, head.body) == (whole.status, b"")
    length = head.headers.get("content-length")
    assert length == whole.headers.get("content-length")
    assert operation.name == "metrics" or int(length or 0) == len(whole.body)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/admin", "/admin/v1", "/admin/v1/sessions/"])
async def test_what_is_not_there_is_404(stage: Stage, path: str) -> None:
    reply = await stage.ask("GET", path)

    assert (reply.status, error_of(reply)["code"]) == (404, "not_found")


async def test_nothing_is_kept_by_caches(stage: Stage) -> None:
    for operation in DESCRIBED:
        if operation.method == "GET" and "{" not in operation.pattern:
            reply = await stage.ask("GET", operation.pattern)

            assert reply.headers["cache-control"] == "no-store"
