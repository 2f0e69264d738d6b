"""The hub's routes on one HTTP connection at a time, over made-up sessions and accounts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import attrs

from relayd.config.keys import Role
from relayd.config.snapshot import Key
from relayd.dialect.hub_topics import Selector, parse_selector
from relayd.routing.roster import Roster
from relayd.service.http.request import Request
from relayd.service.http.responses import Response
from relayd.service.http.router import Route, Router
from relayd.service.hub.accounts import Accounts
from relayd.service.hub.live import Live
from relayd.session.hub.identity import Identity
from relayd.session.hub.tokens import Claims
from tests.service.admin.stage import ACCOUNTS, WALL, PlayedSession
from tests.service.http.stage import Client, Reply
from tests.service.http.stage import Stage as HttpStage

STARTED_AT = WALL - 3600.0


def identity(role: Role = Role.USER, tenant: str = "team") -> Identity:
    """Who comes with a key."""
    key = Key(name=f"{tenant}-{role}", tenant=tenant, digest=b"\x01" * 32, role=role)
    return Identity.of_key(key)


OPERATOR = identity(Role.OPERATOR, "house")
USER = identity()


def token(*topics: str, publish: tuple[str, ...] = ()) -> Identity:
    """Who comes with a token; without ``topics`` it is for all of its tenant."""
    return Identity.of_token(
        Claims(
            subject="ann",
            tenant="team",
            expires_at=WALL + 60,
            topics=selectors(*topics) if topics else None,
            publish=selectors(*publish),
        )
    )


def selectors(*texts: str) -> tuple[Selector, ...]:
    found = [selector for text in texts if (selector := parse_selector(text)) is not None]
    assert len(found) == len(texts)
    return tuple(found)


@attrs.define(eq=False)
class Asked:
    """A handler of known clients as a route of its own, asked as ``who``."""

    method: str
    pattern: str
    handle: Callable[[Request, Identity], Awaitable[Response]]
    who: Identity = USER

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        router = Router([Route(self.method, self.pattern, self._handle, "asked", "")])
        async with HttpStage(router).client() as client:
            yield client

    async def ask(self, target: str = "", body: bytes = b"", *headers: str) -> Reply:
        """The answer; ``target`` is the pattern and a query where nothing else is said."""
        path = target if target.startswith("/") else self.pattern + target
        async with self.client() as client:
            return await client.ask(self.method, path, body, *headers)

    async def get(self, target: str = "") -> dict[str, Any]:
        """The JSON of an answer that is 200."""
        reply = await self.ask(target)
        assert reply.status == 200, reply.body
        said: dict[str, Any] = json.loads(reply.body)
        return said

    async def _handle(self, request: Request) -> Response:
        return await self.handle(request, self.who)


def accounts_of(roster: Roster | None = None, **parts: object) -> Accounts:
    """What shows accounts: two that work, and one that is off."""
    given: dict[str, Any] = {"pools": lambda: (), "wall": lambda: WALL}
    given.update(parts)
    return Accounts(roster=roster or Roster.of(ACCOUNTS), **given)


def live_of(sessions: Mapping[str, PlayedSession] | None = None, **parts: object) -> Live:
    """What shows everything."""
    given: dict[str, Any] = {
        "sessions": {} if sessions is None else sessions,
        "streams": {},
        "figures": lambda tenant: {"now": {"sessions": 0}},
        "accounts": accounts_of(),
        "draining": lambda: False,
        "wall": lambda: WALL,
        "started_at": STARTED_AT,
    }
    given.update(parts)
    return Live(**given)
