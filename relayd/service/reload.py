"""A new configuration in the same process: read, prepared, and put in force in one step.

What may fail or wait comes first: the file is read and checked, certificates are loaded, new
addresses bound, simulated upstreams started. Only then is anything changed, by difference and
without an await, so that no session and no connection ever sees half of a configuration; where
something fails, nothing has changed. Sessions keep what they were admitted under, but not without
their key or their account.

Reading is work for the CPU, done in a worker thread with the interpreter told to switch threads
often. Of 1,000 keys and 100 accounts it takes 150 ms: on the loop that is a pause of 150 ms, in a
thread one of 11 ms and 5 ms for each pass meanwhile, so 7 ms and well under 1.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final, Protocol

import attrs
import trio

from relayd.config.mistakes import ConfigError, Mistake
from relayd.config.schema import LogSettings, Settings
from relayd.config.snapshot import Snapshot
from relayd.observe import logs
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.service.difference import NOTHING, Difference, ReloadOutcome
from relayd.service.listeners import BindError, Listener, bind_all, close_all
from relayd.service.parts import Parts, Trust, sessions_max
from relayd.service.pooling import responses_accounts
from relayd.transport.tls import TlsFileError

log = get_logger()

SWITCH_INTERVAL_S: Final = 0.0002
"""How long the loop waits for the interpreter while a file is read; usually it is 5 ms."""

AT_START: Final = (
    "server.admin",
    "server.admin_token",
    "state.url",
    "state.on_failure",
    "ledger.url",
    "ledger.on_failure",
)
"""The settings that are used when relayd starts, and not again."""

_LISTEN: Final = "server.listen"
_RESTART: Final = "changed in the file; it takes effect when relayd is started again"
_PASSED: Final = (
    "changed in the file, but the service manager passed the sockets to listen on: change its unit"
)
_DRAINING: Final = Mistake("", "relayd is draining and takes no new configuration")
_NO_SOURCE: Final = Mistake("", "there is no file to read again")
_CRASHED: Final = Mistake("", "a bug in relayd: it is not in force, or not all of it; see the log")


class NotReadyError(Exception):
    """What a configuration needs beside relayd cannot be started; the text says what and why."""


class Source(Protocol):
    """Where configurations come from, and what they need that is not of the service itself."""

    def read(self) -> Snapshot:
        """Read and check the configuration. Called in a worker thread.

        Raises:
            ConfigError: With every mistake.
        """

    async def ready(self, snapshot: Snapshot) -> Snapshot:
        """Start what ``snapshot`` needs; returns it with the addresses of what was started.

        Raises:
            NotReadyError: It could not be started.
        """

    def settle(self, snapshot: Snapshot) -> None:
        """``snapshot`` is in force: stop what it does not need, once nobody uses it."""


@attrs.frozen
class _Prepared:
    """All that a configuration needs to be put in force without waiting or failing."""

    snapshot: Snapshot
    trust: Trust
    opened: list[Listener]
    difference: Difference


class _Refused(Exception):
    """The configuration cannot be used."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__(*map(str, mistakes))
        self.mistakes = mistakes


@attrs.define(eq=False, kw_only=True)
class Reloader:
    """Puts new configurations in force, one at a time.

    Attributes:
        parts: What is reconfigured.
        source: ``None`` where there is nothing to read again.
        accept: Starts to accept from a listener.
    """

    parts: Parts
    source: Source | None
    accept: Callable[[Listener], None]
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def reload(self) -> ReloadOutcome:
        """Read the configuration again and put it in force, or say why not.

        Nothing is raised for what the file, the certificates or the addresses are like. A second
        call waits for the first. Cancelling it changes nothing, or everything.
        """
        parts, began = self.parts, trio.current_time()
        async with self._turn:
            try:
                if parts.draining.is_set():
                    raise _Refused(_DRAINING)
                parts.notifier.reloading()
                outcome = await self._reload(began)
            except _Refused as refused:
                log_mistakes(refused.mistakes)
                outcome = self._outcome(began, mistakes=refused.mistakes)
            except Exception as error:  # noqa: BLE001 - the boundary of a reload: a bug in it ends no session
                log.error(LogEvent.RELOAD_CRASHED, traceback=error)
                outcome = self._outcome(began, mistakes=(_CRASHED,))
            finally:
                if not parts.draining.is_set():  # then the manager was told that relayd stops
                    parts.notifier.ready(parts.status)
        parts.measuring.reloaded(applied=not outcome.mistakes)
        return outcome

    async def _reload(self, began: float) -> ReloadOutcome:
        source = self.source
        if source is None:
            raise _Refused(_NO_SOURCE)
        try:
            prepared = await self._prepare(source)
            if self.parts.draining.is_set():  # it began meanwhile
                close_all(prepared.opened)
                raise _Refused(_DRAINING)
            self._apply(prepared)
        finally:
            source.settle(self.parts.snapshot)
        outcome = self._outcome(
            began,
            difference=prepared.difference,
            postponed=tuple(self._postponed(prepared.snapshot.settings)),
        )
        self._log(outcome)
        return outcome

    def _outcome(
        self,
        began: float,
        *,
        mistakes: tuple[Mistake, ...] = (),
        difference: Difference = NOTHING,
        postponed: tuple[str, ...] = (),
    ) -> ReloadOutcome:
        return ReloadOutcome(
            mistakes=mistakes,
            difference=difference,
            postponed=postponed,
            listen=self.parts.listeners.addresses,
            duration_ms=round((trio.current_time() - began) * 1000, 3),
        )

    # -- what may wait and fail

    async def _prepare(self, source: Source) -> _Prepared:
        """Raises :class:`_Refused`; nothing is left of it but what ``source`` has started."""
        try:
            with _switching_often():
                snapshot = await trio.to_thread.run_sync(source.read)
                snapshot = await source.ready(snapshot)
                return await trio.to_thread.run_sync(self._make_ready, snapshot)
        except ConfigError as error:
            raise _Refused(*error.mistakes) from None
        except NotReadyError as error:
            raise _Refused(Mistake("accounts", str(error))) from None
        except TlsFileError as error:
            raise _Refused(Mistake("", str(error))) from None
        except BindError as error:
            raise _Refused(Mistake("server.listen", str(error))) from None

    def _make_ready(self, snapshot: Snapshot) -> _Prepared:
        """The part for a worker thread. What it reads of ``parts`` only a reload changes."""
        parts, wanted = self.parts, snapshot.settings.server.listen
        trust = Trust.of(snapshot, parts.trust)
        removed = parts.listeners.superfluous(wanted)
        opened = _bind(parts.listeners.missing(wanted), removed, parts.environ)
        difference = Difference.between(
            parts.snapshot,
            snapshot,
            listeners_added=tuple(listener.address for listener in opened),
            listeners_removed=tuple(listener.address for listener in removed),
        )
        return _Prepared(snapshot, trust, opened, difference)

    # -- the step

    def _apply(self, prepared: _Prepared) -> None:
        """Put it in force. Nothing in it waits, or is expected to fail."""
        parts, snapshot = self.parts, prepared.snapshot
        limits, door = snapshot.settings.limits, parts.door
        _apply_log(parts.snapshot.settings.log, snapshot.settings.log)
        parts.trust, parts.loaded_at = prepared.trust, parts.ground.books.wall()
        parts.connector.contexts = prepared.trust.upstream
        parts.roster.update(snapshot.accounts)
        parts.responses.pool.apply(snapshot.settings.pool, responses_accounts(snapshot))
        parts.chat.apply(snapshot)
        parts.ground.books.limits.sessions_max = sessions_max(limits)
        door.tls = prepared.trust.clients
        door.hold.bytes_max = limits.hold_max_bytes
        door.slow_heads.per_address_max = limits.handshakes_per_ip_max
        door.apply(snapshot)
        public = parts.listeners.public
        for listener in parts.listeners.superfluous(snapshot.settings.server.listen):
            public.remove(listener)
            listener.close()
        for listener in prepared.opened:
            public.append(listener)
            self.accept(listener)

    # -- what is said of it

    def _postponed(self, settings: Settings) -> Iterator[str]:
        """What has changed since the start and is not in force."""
        started_with = self.parts.started_with.settings
        also = (_LISTEN,) if self.parts.listeners.are_passed else ()
        for path in (*AT_START, *also):
            value_of = attrgetter(path)
            if value_of(settings) != value_of(started_with):
                yield path

    def _log(self, outcome: ReloadOutcome) -> None:
        difference = outcome.difference
        log.info(
            LogEvent.CONFIG_RELOADED,
            keys_added=len(difference.keys.added),
            keys_changed=len(difference.keys.changed),
            keys_removed=len(difference.keys.removed),
            accounts_added=len(difference.accounts.added),
            accounts_changed=len(difference.accounts.changed),
            accounts_removed=len(difference.accounts.removed),
            listeners_added=list(difference.listeners_added),
            listeners_removed=list(difference.listeners_removed),
            duration_ms=outcome.duration_ms,
        )
        for path in outcome.postponed:
            message = _PASSED if path == _LISTEN else _RESTART
            log.warning(LogEvent.CONFIG_POSTPONED, path=path, message=message)


def log_mistakes(mistakes: Iterable[Mistake]) -> None:
    """Write one line for each; a mistake in another file than the configuration names it."""
    for mistake in mistakes:
        path = mistake.path if mistake.file is None else f"{mistake.file}: {mistake.path}"
        log.error(LogEvent.CONFIG_REFUSED, path=path, message=mistake.message)


def _bind(
    missing: Iterable[str], removed: Iterable[Listener], environ: Mapping[str, str]
) -> list[Listener]:
    """Bind what is missing, while what is removed still listens. Raises :class:`BindError`."""
    try:
        return bind_all(missing, environ)
    except BindError as error:
        own = ", ".join(listener.address for listener in removed)
        if not own:
            raise
        message = f"{error} (relayd has {own}: an address that takes in its port needs a restart)"
        raise BindError(message) from None


def _apply_log(before: LogSettings, after: LogSettings) -> None:
    """Only what has changed: the level may have been set by hand meanwhile."""
    if after.format != before.format:
        logs.set_format(after.format)
    if after.level != before.level:
        logs.set_level(after.level)


@contextlib.contextmanager
def _switching_often() -> Iterator[None]:
    usually_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usually_s)
