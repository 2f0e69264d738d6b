"""What may stand in the query beside a token."""

from __future__ import annotations

import json

import pytest

from relayd.service.http.request import Request
from relayd.service.http.responses import Json, Response
from relayd.service.hub.query import parameters
from relayd.session.hub.identity import Identity
from tests.service.hub.stage import Asked


async def show(request: Request, _: Identity) -> Response:
    return Json(dict(parameters(request, ("limit",))))


@pytest.mark.parametrize("query", ["?access_token=x&limit=3", "?limit=3"])
async def test_a_token_is_left_out(query: str) -> None:
    assert await Asked("GET", "/x", show).get(query) == {"limit": "3"}


@pytest.mark.parametrize("query", ["?access_token=x&access_token=x", "?acces_token=x", "?cursor=1"])
async def test_everything_else_is_as_it_was(query: str) -> None:
    reply = await Asked("GET", "/x", show).ask(query)

    assert (reply.status, json.loads(reply.body)["error"]["type"]) == (400, "invalid_request_error")
