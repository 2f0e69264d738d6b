"""Which server is asked for a device, and which one next where that gives no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Account, Key, Snapshot
from relayd.dialect.xiaozhi_build import Build
from relayd.observe.bus import AccountFailed
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.routing.classify import unreachable
from relayd.service.http.refusals import HttpRefused
from relayd.service.xiaozhi import faults
from relayd.service.xiaozhi.asking import Answered, Question, ask
from relayd.session.attempts import AttemptFailed
from relayd.session.connecting import ATTEMPT_SHARE, Connector
from relayd.session.xiaozhi.routing import servers_of
from relayd.transport.errors import DialErrorKind

log = get_logger()

T = TypeVar("T")


@attrs.frozen
class Use:
    """What an answer comes to, for the log.

    Attributes:
        account: Whose it is.
        status: The server's.
        duration_ms: Of this one question.
    """

    account: Account
    status: int
    duration_ms: int


@attrs.frozen
class Servers:
    """Asks them.

    What becomes of a question does not count for an account's health, and that does not count
    here: it is about the server's WebSocket, which mostly is another program than the one that
    answers. A server that refused a device's old token is the one to ask for a new one.
    """

    connector: Connector

    async def first(
        self,
        question: Question,
        judge: Callable[[Account, Answered], T],
        *,
        snapshot: Snapshot,
        key: Key,
        build: Build,
        only: str | None = None,
    ) -> tuple[T, Use]:
        """The first answer that is of use, in the order in which the device goes to servers.

        All of them share ``limits.admission_s``; each gets at most half of what is left.

        Args:
            question: What is asked.
            judge: Makes something of an answer, or raises :class:`AttemptFailed`.
            snapshot: The configuration.
            key: What the device's sessions count to.
            build: What the device is.
            only: The only account that will do.

        Raises:
            HttpRefused: 503 where no server could be asked, or relayd itself lacks something; 502
                where none gave an answer that is of use.
        """
        deadline = trio.current_time() + snapshot.settings.limits.admission_s
        roster, device_id = self.connector.roster, question.identity.device_id
        refusal = faults.NOT_SERVED
        for account in servers_of(roster, device_id, key, snapshot.prices, build=build):
            if account.xiaozhi.ota_url is None or only not in {None, account.name}:
                continue
            now = trio.current_time()
            if now >= deadline:
                break
            try:
                answered = await self._ask(account, question, deadline)
                made = judge(account, answered)
            except AttemptFailed as failed:
                self._tell(account, failed)
                if failed.is_ours:
                    raise HttpRefused(faults.BUSY) from None
                refusal = faults.UPSTREAM_FAILED
                continue
            took_ms = int((trio.current_time() - now) * 1000)
            return made, Use(account, answered.status, took_ms)
        raise HttpRefused(refusal)

    async def _ask(self, account: Account, question: Question, deadline: float) -> Answered:
        left_s = deadline - trio.current_time()
        with trio.move_on_after(left_s * ATTEMPT_SHARE):
            return await ask(self.connector, account, question)
        message = "the server did not answer in time"
        raise AttemptFailed(unreachable(DialErrorKind.CONNECT_TIMEOUT, message))

    def _tell(self, account: Account, failed: AttemptFailed) -> None:
        failure = failed.failure
        log.warning(
            LogEvent.UPSTREAM_FAILED,
            dialect=Dialect.XIAOZHI,
            account=account.name,
            reason=failure.code,
            message=failure.message,
        )
        self.connector.bus.publish(
            AccountFailed(account=account.name, dialect=Dialect.XIAOZHI, reason=failure.code)
        )
