"""What operators can do: end a session, use an account or not, drain, reload.

Each acts before it waits for anything: what was asked for is done even if the client has left.
"""

from __future__ import annotations

import random
from http import HTTPStatus
from typing import Final

import attrs
import trio

from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.routing.health import AccountEnabled
from relayd.routing.roster import Seat, Standing
from relayd.service.admin import paging
from relayd.service.admin.shapes import (
    AccountChanged,
    Changed,
    Draining,
    Error,
    ErrorAnswer,
    Killed,
    MistakeView,
    Probe,
    ReloadDone,
)
from relayd.service.admin.state import Operations
from relayd.service.admin.views import NO_SUCH_SESSION, Views, answer
from relayd.service.difference import Changes, ReloadOutcome
from relayd.service.http.refusals import HttpFault, HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json
from relayd.session.accounts import tell_changes, tell_standing
from relayd.session.attempts import AttemptFailed
from relayd.session.probing import probe

log = get_logger()

CONFIG_REFUSED: Final = "config_refused"
DRAINING: Final = HttpFault(
    HTTPStatus.CONFLICT,
    "draining",
    "relayd drains and takes no new configuration; the next one that starts reads it.",
)

_OPERATOR: Final = "operator"
_NO_SUCH_ACCOUNT: Final = Refusal(
    RefusalCode.NOT_FOUND, "The configuration has no account of this name.", "name"
)
_NOT_STARTED: Final = HttpFault(
    HTTPStatus.CONFLICT,
    "account_not_started",
    "This simulated upstream was not started, since the configuration disables it; enable it"
    " there and restart.",
    "name",
)
_UNTIL: Final = "until the next reload or restart"


@attrs.define(eq=False)
class Actions:
    """Handlers of what can be done.

    Attributes:
        wants_drain: A drain was asked for; it begins behind the answer, which it could cut off.
    """

    operations: Operations
    views: Views
    wants_drain: bool = attrs.field(default=False, init=False)

    async def kill_session(self, request: Request) -> Json:
        """``POST /admin/v1/sessions/{session_id}/kill``."""
        paging.parameters(request, ())
        session_id = request.parameters["session_id"]
        session = self.operations.sessions.get(session_id)
        if session is None:
            raise HttpRefused(NO_SUCH_SESSION)
        session.kill()
        return answer(Killed(session_id, Reason.KILLED.value), HTTPStatus.ACCEPTED)

    # -- accounts

    async def enable_account(self, request: Request) -> Json:
        """``POST /admin/v1/accounts/{name}/enable``."""
        standing, roster = self._standing(request), self.operations.connector.roster
        account = standing.account
        if account.base_url is None:
            raise HttpRefused(_NOT_STARTED)
        was_off = not account.enabled
        roster.override(account.name, enabled=True)
        changes = roster.forgive(account.name)
        if was_off and not changes:
            changes = (AccountEnabled(account.name),)
        bus = self.operations.connector.bus
        tell_changes(changes, roster, bus, cause=_OPERATOR)
        if not changes:  # it may have rested
            tell_standing(account.name, roster, bus, reason=None)
        outcome = await self._probe(standing)
        message = "it takes sessions"
        if not outcome.ok:
            message = "it takes sessions as long as it is not disabled again; the probe failed"
        if standing.overridden:
            message = f"{message}; the configuration disables it, so {_UNTIL}"
        return answer(AccountChanged(self.views.account_view(standing), message, outcome))

    async def disable_account(self, request: Request) -> Json:
        """``POST /admin/v1/accounts/{name}/disable``."""
        standing = self._standing(request)
        name, message = standing.account.name, f"it takes no new session {_UNTIL}"
        if standing.account.enabled:
            connector = self.operations.connector
            connector.roster.override(name, enabled=False)
            log.warning(LogEvent.ACCOUNT_DISABLED, account=name, reason=_OPERATOR, message=message)
            tell_standing(name, connector.roster, connector.bus, reason=_OPERATOR)
        if not standing.overridden:
            message = "the configuration disables it"
        if standing.in_flight:
            count = standing.in_flight
            message = f"{message}; {count} session{'s' * (count > 1)} under way there may go on"
        return answer(AccountChanged(self.views.account_view(standing), message))

    def _standing(self, request: Request) -> Standing:
        paging.parameters(request, ())
        standing = self.operations.connector.roster.standing(request.parameters["name"])
        if standing is None:
            raise HttpRefused(_NO_SUCH_ACCOUNT)
        return standing

    async def _probe(self, standing: Standing) -> Probe:
        """Dial the account now. What a client's attempt would have led to follows from it."""
        with Seat(standing, trio.current_time()) as seat:
            found = await probe(self.operations.connector, seat)
            if not isinstance(found, AttemptFailed):
                first_frame_ms = found.first_frame_ms
                return Probe(
                    ok=True,
                    connect_ms=round(found.connect_ms, 1),
                    first_frame_ms=None if first_frame_ms is None else round(first_frame_ms, 1),
                )
            if not found.is_ours:
                now, jitter = trio.current_time(), random.random()
                connector = self.operations.connector
                changes = seat.fail(found.failure, now, jitter=jitter)
                tell_changes(changes, connector.roster, connector.bus)
        return Probe(ok=False, reason=found.failure.code, message=found.failure.message)

    # -- the whole

    async def drain(self, request: Request) -> Json:
        """``POST /admin/v1/drain``."""
        paging.parameters(request, ())
        operations = self.operations
        self.wants_drain = True
        drain_s = operations.snapshot().settings.server.drain_s
        state = Draining(draining=True, sessions=len(operations.sessions), drain_s=drain_s)
        return answer(state, HTTPStatus.ACCEPTED)

    async def reload(self, request: Request) -> Json:
        """``POST /admin/v1/reload``."""
        paging.parameters(request, ())
        if self.operations.draining():
            raise HttpRefused(DRAINING)
        outcome = await self.operations.reload()
        if not outcome.applied:
            return answer(_refused(outcome), HTTPStatus.UNPROCESSABLE_ENTITY)
        return answer(_applied(outcome))


def _applied(outcome: ReloadOutcome) -> ReloadDone:
    difference = outcome.difference
    return ReloadDone(
        applied=True,
        keys=_changed(difference.keys),
        accounts=_changed(difference.accounts),
        listeners_added=difference.listeners_added,
        listeners_removed=difference.listeners_removed,
        postponed=outcome.postponed,
        duration_ms=outcome.duration_ms,
    )


def _changed(changes: Changes) -> Changed:
    return Changed(changes.added, changes.changed, changes.removed)


def _refused(outcome: ReloadOutcome) -> ErrorAnswer:
    count = len(outcome.mistakes)
    what = "a mistake" if count == 1 else f"{count} mistakes"
    message = f"The configuration has {what}, and none of it is used; the former one stays."
    mistakes = tuple(MistakeView(each.path, each.message, each.file) for each in outcome.mistakes)
    error = Error(message, "invalid_request_error", None, CONFIG_REFUSED)
    return ErrorAnswer(error, mistakes)
