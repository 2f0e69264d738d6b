"""What runs now, for the dashboard: who asks, sessions, figures, accounts; and the end of one.

A client sees what is its tenant's, an operator everything; where a client is, operators alone.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Final, Literal, TypeAlias

import attrs
import msgspec
import trio
from msgspec import Meta

import relayd
from relayd.config.keys import Role
from relayd.config.providers import Dialect
from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_topics import TENANT_PREFIX
from relayd.observe.bus import SessionFacts
from relayd.service.admin import paging
from relayd.service.admin.shapes import ENCODER, Killed, Moment, Shape, moment
from relayd.service.admin.state import LiveSession
from relayd.service.admin.views import NO_SUCH_SESSION, answer
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json
from relayd.service.hub.accounts import Accounts
from relayd.service.hub.events import EventStream
from relayd.service.hub.query import parameters
from relayd.session.hub.identity import Identity

_FILTERS: Final = ("key", "account", "dialect", "model")
_OPERATORS_FILTERS: Final = (*_FILTERS, "tenant")
_ALL: Final = frozenset[str](Dialect)
_PAGE: Final = ("limit", "cursor", "listeners")
_NOT_AN_OPERATOR: Final = Refusal(
    RefusalCode.ROLE_NOT_ALLOWED,
    'This is for operators: it takes a key with role = "operator".',
)
_NARROWED: Final = Refusal(
    RefusalCode.ROLE_NOT_ALLOWED,
    "This token is narrowed to some topics. What a whole tenant does takes its topic tenant:{id}.",
)


Listed: TypeAlias = LiveSession | EventStream
"""What counts as a session, whichever way its client came."""


class Me(Shape):
    """Who asks, and what that allows."""

    name: Annotated[str, Meta(description="The key's name; `jwt:` and the subject of a token.")]
    tenant: str
    role: Role
    topics: Annotated[
        tuple[str, ...] | None,
        Meta(description="What it may follow; null: all of its tenant, or of all for operators."),
    ]
    publish: Annotated[tuple[str, ...], Meta(description="Where it may publish, in its tenant.")]
    expires_at: Moment | None
    version: Annotated[str, Meta(description="relayd's.")]


class SessionLine(Shape):
    """A running session in the dashboard."""

    session_id: str
    dialect: Dialect
    key: str
    tenant: str
    account: Annotated[str | None, Meta(description="Null where each turn has its own.")]
    model: str | None
    state: Annotated[
        Literal["idle", "busy", "leaving"],
        Meta(description="Whether a turn runs; leaving: it ends when none does, or is ending."),
    ]
    started_at: Moment
    duration_s: float
    turns: Annotated[int, Meta(description="That have ended.")]
    messages_up: int
    messages_down: int
    client_address: Annotated[str | None, Meta(description="For operators alone.")]


Figures = Callable[[str | None], Mapping[str, object]]
"""The numbers of one tenant, or of all for ``None``: ``now``, ``series`` and so on."""


@attrs.frozen(kw_only=True)
class Live:
    """Handlers of what runs, for clients that are known.

    Attributes:
        sessions: The running ones by id, in the order in which they began.
        streams: Likewise those that follow events by SSE, which count as sessions.
        figures: What they did, in numbers; short, since nothing else runs meanwhile.
        accounts: Shows the accounts.
        draining: Whether relayd accepts nothing new.
        wall: Seconds since the epoch.
        started_at: When relayd started, likewise.
    """

    sessions: Mapping[str, LiveSession]
    streams: Mapping[str, EventStream]
    figures: Figures
    accounts: Accounts
    draining: Callable[[], bool]
    wall: Callable[[], float]
    started_at: float

    async def me(self, request: Request, who: Identity) -> Json:
        """``GET /api/v1/me``."""
        parameters(request, ())
        await trio.lowlevel.checkpoint()
        scope = who.scope
        return answer(
            Me(
                name=who.name,
                tenant=who.tenant,
                role=who.role,
                topics=None if scope.topics is None else tuple(t.text for t in scope.topics),
                publish=tuple(each.text for each in scope.publish),
                expires_at=None if who.expires_at is None else moment(who.expires_at),
                version=relayd.__version__,
            )
        )

    async def overview(self, request: Request, who: Identity) -> Json:
        """``GET /api/v1/overview``. Raises ``HttpRefused`` (403) for a narrowed token."""
        parameters(request, ())
        tenant = seen_tenant(who)
        await trio.lowlevel.checkpoint()
        said = {
            "at": moment(self.wall()),
            "tenant": tenant,
            "role": who.role,
            "version": relayd.__version__,
            "started_at": moment(self.started_at),
            "draining": self.draining(),
        }
        return answer(said | dict(self.figures(tenant)))

    async def list_accounts(self, request: Request, who: Identity) -> Json:
        """``GET /api/v1/accounts``. Raises ``HttpRefused`` (403) for all but operators."""
        _check_operator(who)
        return await self.accounts.list_accounts(request)

    async def kill(self, request: Request, who: Identity) -> Json:
        """``POST /api/v1/sessions/{session_id}/kill``.

        It acts before it waits for anything. The request's line in the log says who asked, that of
        the session that it was killed. Raises ``HttpRefused``: 403 for all but operators, 404.
        """
        _check_operator(who)
        parameters(request, ())
        session_id = request.parameters["session_id"]
        if session := self.sessions.get(session_id):
            session.kill()
        elif stream := self.streams.get(session_id):
            stream.end(Reason.KILLED)
        else:
            raise HttpRefused(NO_SUCH_SESSION)
        return answer(Killed(session_id, Reason.KILLED.value), HTTPStatus.ACCEPTED)

    # -- sessions

    async def list_sessions(self, request: Request, who: Identity) -> Json:
        """``GET /api/v1/sessions``: a page of them, the oldest first.

        With ``listeners=false`` without those who only follow events, of whom there may be
        thousands.

        Raises:
            HttpRefused: 400 for a parameter, 403 for a narrowed token.
        """
        operator = who.role is Role.OPERATOR
        filters = _OPERATORS_FILTERS if operator else _FILTERS
        given = parameters(request, (*filters, *_PAGE))
        limit, slices = paging.limit_of(given), paging.Slices()
        wanted = {name: given[name] for name in filters if name in given}
        tenant = seen_tenant(who)
        if tenant is not None:
            wanted["tenant"] = tenant
        begun_after = _place_of(given.get("cursor"))
        listed = _dialects_of(given.get("listeners"))
        shown: list[msgspec.Raw] = []
        last: Place | None = None
        for place, session in _in_order(
            tuple(self.sessions.values()), tuple(self.streams.values())
        ):
            facts = _facts_of(session)
            comes = begun_after is None or place > begun_after
            comes = comes and facts.dialect in listed
            if not comes or any(getattr(facts, name) != value for name, value in wanted.items()):
                await slices.looked_at()
                continue
            if len(shown) == limit and last is not None:
                return answer({"data": shown, "next": _cursor(last)})
            if self._runs(facts.session_id):  # else it has ended since
                line = self.line_of(session, operator=operator)
                shown.append(msgspec.Raw(ENCODER.encode(line)))
                last = place
            await slices.shown()
        return answer({"data": shown, "next": None})

    def _runs(self, session_id: str) -> bool:
        return session_id in self.sessions or session_id in self.streams

    def line_of(self, session: Listed, *, operator: bool) -> SessionLine:
        """One session at this moment, for an operator's eyes or for its tenant's."""
        facts, duration_s = _facts_of(session), trio.current_time() - _began_at(session)
        turns, messages_up, messages_down = _counts_of(session)
        return SessionLine(
            session_id=facts.session_id,
            dialect=Dialect(facts.dialect),
            key=facts.key,
            tenant=facts.tenant,
            account=facts.account or None,
            model=facts.model,
            state=_state_of(session),
            started_at=moment(self.wall() - duration_s),
            duration_s=round(duration_s, 3),
            turns=turns,
            messages_up=messages_up,
            messages_down=messages_down,
            client_address=session.client_address if operator else None,
        )


def seen_tenant(who: Identity) -> str | None:
    """Whose sessions and figures a client sees; ``None``: everybody's.

    Raises:
        HttpRefused: 403 for a token that may not follow its tenant's topic, which tells the same.
    """
    if who.role is Role.OPERATOR:
        return None
    if not who.scope.may_see(who.tenant, TENANT_PREFIX + who.tenant):
        raise HttpRefused(_NARROWED)
    return who.tenant


def _check_operator(who: Identity) -> None:
    if who.role is not Role.OPERATOR:
        raise HttpRefused(_NOT_AN_OPERATOR)


def _facts_of(session: Listed) -> SessionFacts:
    return session.facts if isinstance(session, EventStream) else session.reporter.facts


def _counts_of(session: Listed) -> tuple[int, int, int]:
    """Turns that have ended, and messages up and down."""
    if isinstance(session, EventStream):
        return 0, 0, session.messages
    up, down = session.client.flow, session.upstream.flow
    messages_up = 0 if up is None else up.messages
    return session.reporter.turns, messages_up, 0 if down is None else down.messages


def _state_of(session: Listed) -> Literal["idle", "busy", "leaving"]:
    if isinstance(session, EventStream):
        return "idle" if session.reason is None else "leaving"
    if session.leaving is not None:
        return "leaving"
    return "busy" if session.conversation.busy else "idle"


# -- the order of sessions

Place = tuple[float, str]
"""When a session began and its id: it stands there among all, for as long as relayd runs."""


def _in_order(
    sessions: Sequence[Listed], streams: Sequence[Listed]
) -> Iterator[tuple[Place, Listed]]:
    """Both, which each began one after the other, with their places: ties are put right."""
    every = heapq.merge(sessions, streams, key=_began_at)
    for began_at, together in itertools.groupby(every, _began_at):
        by_id = {_facts_of(each).session_id: each for each in together}
        for session_id in sorted(by_id):
            yield (began_at, session_id), by_id[session_id]


def _began_at(session: Listed) -> float:
    if isinstance(session, EventStream):
        return session.began_at
    return session.reporter.timing.started_at


def _cursor(place: Place) -> str:
    return f"{place[0]!r}@{place[1]}"


def _dialects_of(listeners: str | None) -> frozenset[str]:
    """Whose sessions are listed. Raises :class:`HttpRefused`."""
    match listeners:
        case None | "true":
            return _ALL
        case "false":
            return _ALL - {Dialect.HUB}
        case _:
            raise paging.invalid("Either true or false.", "listeners")


def _place_of(cursor: str | None) -> Place | None:
    """The place that a cursor names. Raises :class:`HttpRefused`."""
    if cursor is None:
        return None
    began_at, at, session_id = cursor.partition("@")
    try:
        return float(began_at if at else ""), session_id
    except ValueError:
        raise paging.invalid("This is no cursor that was given here.", "cursor") from None
