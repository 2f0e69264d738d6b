"""relayd as one call: what it announces, how it drains and stops, and that nothing is left."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from relayd.config.accounts import AccountSettings
from relayd.config.schema import (
    KeySettings,
    LedgerSettings,
    LimitSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)
from relayd.config.secret import KeyDigest
from relayd.config.snapshot import Snapshot
from relayd.observe.bus import Bus, BusEvent
from relayd.observe.events import LogEvent
from relayd.service import app
from relayd.service.listeners import BindError
from relayd.service.parts import Trust
from relayd.transport.tls import TlsFileError
from tests.conftest import LogLines
from tests.faults.wire import BINARY, SOON_S, Response, Wire, accepting, frame, upgrade

KEY = "canary-of-client"
BEARER = {"Authorization": f"Bearer {KEY}"}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@attrs.define(eq=False)
class Stage:
    """A configuration, and relayd running with it."""

    folder: Path
    nursery: trio.Nursery
    upstream: trio.socket.SocketType
    server: ServerSettings
    limits: LimitSettings = attrs.field(factory=LimitSettings)
    environ: dict[str, str] = attrs.field(factory=dict)
    over: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    events: list[BusEvent] = attrs.field(factory=list)
    wires: list[Wire] = attrs.field(factory=list)

    @property
    def snapshot(self) -> Snapshot:
        port = self.upstream.getsockname()[1]
        echo = AccountSettings(name="echo", provider="websocket", base_url=f"ws://127.0.0.1:{port}")
        off = attrs.evolve(echo, name="off", enabled=False)
        keys = (
            KeySettings(name="dev", secret=KeyDigest.of(KEY)),
            KeySettings(name="old", secret=KeyDigest.of(KEY + "x"), enabled=False),
        )
        settings = Settings(
            server=self.server,
            limits=self.limits,
            ledger=LedgerSettings(url="sqlite::memory:"),
            keys=keys,
            accounts=(echo, off),
        )
        return Snapshot.of(settings)

    async def start(self) -> app.Running:
        running: app.Running = await self.nursery.start(self._serve)
        return running

    async def _serve(self, *, task_status: trio.TaskStatus[app.Running]) -> None:
        bus = Bus()
        bus.subscribe(self.events.append)
        with self.scope:
            await app.serve(self.snapshot, environ=self.environ, bus=bus, task_status=task_status)
        self.over.set()

    async def stopped(self) -> None:
        with trio.fail_after(SOON_S):
            await self.over.wait()

    async def client(self, running: app.Running, path: str = "/relay/echo") -> Wire:
        """A connection that has asked for an upgrade."""
        wire = await Wire.to(running.addresses[0])
        self.wires.append(wire)
        await wire.send(upgrade(path, BEARER))
        return wire

    async def session(self, running: app.Running) -> tuple[Wire, Wire]:
        """A session's client and upstream."""
        client = await self.client(running)
        accepted, _ = await self.upstream.accept()
        far = Wire(accepted, is_client=False)
        self.wires.append(far)
        await far.send(accepting(await far.head()))
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        return client, far

    async def ready(self) -> dict[str, object]:
        """What ``/readyz`` says."""
        sock = trio.socket.socket(socket.AF_UNIX)
        await sock.connect(str(self.folder / "admin.sock"))
        wire = Wire(sock)
        await wire.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        await wire.finish()
        await wire.end()
        wire.close()
        said: dict[str, object] = json.loads(Response.parse(bytes(wire.seen)).body)
        return said


@pytest.fixture
async def stage(tmp_path: Path, log_lines: LogLines) -> AsyncIterator[Stage]:
    before = descriptors()
    with trio.socket.from_stdlib_socket(socket.create_server(("127.0.0.1", 0))) as upstream:
        async with trio.open_nursery() as nursery:
            server = ServerSettings(
                listen=("127.0.0.1:0", f"unix:{tmp_path / 'public.sock'}"),
                admin=f"unix:{tmp_path / 'admin.sock'}",
                drain_s=SOON_S,
            )
            made = Stage(tmp_path, nursery, upstream, server)
            yield made
            nursery.cancel_scope.cancel()
        for wire in made.wires:
            wire.close()
    assert descriptors() == before


async def test_it_announces_what_it_bound_and_what_it_was_given(
    stage: Stage, log_lines: LogLines
) -> None:
    stage.limits = LimitSettings(sessions_max=7)

    running = await stage.start()

    (line,) = log_lines.of(LogEvent.SERVER_STARTED)
    assert tuple(line["listen"]) == running.addresses
    assert line["admin"] == running.admin == f"unix:{stage.folder / 'admin.sock'}"
    assert running.addresses[1] == f"unix:{stage.folder / 'public.sock'}"
    assert not running.addresses[0].endswith(":0")
    assert (line["accounts"], line["keys"], line["sessions_max"]) == (1, 1, 7)
    assert await stage.ready() == {
        "ready": True,
        "draining": False,
        "overloaded": False,
        "ledger_failing": False,
    }


async def test_it_tells_the_service_manager_that_it_is_ready_and_that_it_stops(
    stage: Stage,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(stage.folder / "notify"))
        manager.setblocking(False)
        stage.environ["NOTIFY_SOCKET"] = str(stage.folder / "notify")

        running = await stage.start()
        ready = manager.recv(4096)
        assert ready.startswith(b"READY=1\nSTATUS=0 sessions, listening on 127.0.0.1:")

        running.drain()
        await stage.stopped()
        assert manager.recv(4096) == b"STOPPING=1"


async def test_the_service_manager_hears_of_sessions_signs_of_life_and_how_long_a_drain_takes(
    stage: Stage,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(stage.folder / "notify"))
        manager.setblocking(False)
        stage.environ |= {
            "NOTIFY_SOCKET": str(stage.folder / "notify"),
            "WATCHDOG_USEC": "200000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        running = await stage.start()
        client, far = await stage.session(running)

        heard = await datagrams_until(manager, b"STATUS=1 session, listening on ")
        assert heard[0].startswith(b"READY=1\nSTATUS=0 sessions, ")
        assert heard[1:-1] == [b"WATCHDOG=1"] * (len(heard) - 2)
        assert len(heard) - 2 >= 5, "ten are due in the second before the status"

        nursery = stage.nursery
        late = await Wire.to(running.addresses[0])
        stage.wires.append(late)
        nursery.start_soon(client.goodbye)
        nursery.start_soon(far.goodbye)
        running.drain()
        heard = await datagrams_until(manager, b"EXTEND_TIMEOUT_USEC=")
        assert [state for state in heard if state != b"WATCHDOG=1"] == [
            *(b"STOPPING=1", b"EXTEND_TIMEOUT_USEC=15000000")
        ]
        late.close()
        await stage.stopped()


async def datagrams_until(manager: socket.socket, last: bytes) -> list[bytes]:
    """What the manager gets, up to one that begins so."""
    heard: list[bytes] = []
    with trio.fail_after(SOON_S):
        while not heard or not heard[-1].startswith(last):
            await trio.lowlevel.wait_readable(manager)
            heard.append(manager.recv(4096))
    return heard


async def test_a_drain_without_sessions_ends_at_once_and_leaves_nothing(
    stage: Stage, log_lines: LogLines
) -> None:
    running = await stage.start()

    running.drain()
    await stage.stopped()

    events = [line["event"] for line in log_lines.all]
    assert events == [LogEvent.SERVER_STARTED, LogEvent.DRAIN_STARTED, LogEvent.SERVER_STOPPED]
    assert log_lines.all[1]["sessions"] == 0
    assert log_lines.all[2]["cause"] == "drained"
    assert list(stage.folder.glob("*.sock")) == []
    with pytest.raises(ConnectionRefusedError):
        await Wire.to(running.addresses[0])


async def test_a_drain_tells_idle_sessions_at_once(stage: Stage, log_lines: LogLines) -> None:
    running = await stage.start()
    client, far = await stage.session(running)

    running.drain()

    assert (await client.until_close()).close_code == 1012
    await client.finish()
    assert await far.goodbye() == 1000
    await stage.stopped()
    (drain,) = log_lines.of(LogEvent.DRAIN_STARTED)
    (ended,) = log_lines.of(LogEvent.SESSION_ENDED)
    assert drain["sessions"] == 1
    assert ended["reason"] == "drain"


async def test_while_it_drains_it_is_not_ready_and_refuses_whom_it_had_accepted(
    stage: Stage, log_lines: LogLines
) -> None:
    running = await stage.start()
    late = await Wire.to(running.addresses[0])
    stage.wires.append(late)
    await late.send(upgrade("/relay/echo", BEARER)[:-2])
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON_S):
            running.drain()
            while (said := await stage.ready())["ready"]:
                pass
        assert said == {
            "ready": False,
            "draining": True,
            "overloaded": False,
            "ledger_failing": False,
        }
        nursery.start_soon(late.send, b"\r\n")

    await late.end()
    assert Response.parse(bytes(late.seen)).status == 503
    await late.finish()
    await stage.stopped()
    (refused,) = log_lines.of(LogEvent.CONNECTION_REFUSED)
    assert refused["reason"] == "draining"


async def test_a_stop_ends_every_session_now(stage: Stage, log_lines: LogLines) -> None:
    running = await stage.start()
    client, far = await stage.session(running)

    running.stop()

    assert (await client.until_close()).close_code == 1012
    await client.finish()
    await far.goodbye()
    await stage.stopped()
    (stopped,) = log_lines.of(LogEvent.SERVER_STOPPED)
    assert stopped["cause"] == "stopped"
    assert len(log_lines.of(LogEvent.SESSION_ENDED)) == 1


async def test_cancelled_it_says_goodbye_and_leaves_nothing(
    stage: Stage, log_lines: LogLines
) -> None:
    running = await stage.start()
    client, far = await stage.session(running)
    flood = frame(BINARY, bytes(32_768), masked=False) * 1024
    stage.nursery.start_soon(far.send, flood)
    await wait_all_tasks_blocked(0.01)  # the client does not read: whole frames are pending

    stage.scope.cancel()

    assert (await client.until_close()).close_code == 1012
    await client.finish()
    await stage.stopped()
    assert log_lines.of(LogEvent.SESSION_ENDED)[0]["reason"] == "drain"
    assert list(stage.folder.glob("*.sock")) == []


async def test_an_address_that_cannot_be_bound_leaves_nothing_bound(
    stage: Stage, log_lines: LogLines
) -> None:
    before = descriptors()
    port = stage.upstream.getsockname()[1]
    listen = (f"unix:{stage.folder / 'public.sock'}", f"127.0.0.1:{port}")
    stage.server = attrs.evolve(stage.server, listen=listen)

    with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{port}: address already"):
        await app.serve(stage.snapshot, environ={})

    assert descriptors() == before
    assert list(stage.folder.glob("*.sock")) == []
    assert log_lines.all == []


async def test_a_certificate_that_cannot_be_used_binds_nothing(stage: Stage) -> None:
    missing = str(stage.folder / "missing.pem")
    files = TlsSettings(certificate=missing, private_key=missing)
    stage.server = attrs.evolve(stage.server, tls=files)

    with pytest.raises(TlsFileError, match=r"missing\.pem"):
        await app.serve(stage.snapshot, environ={})

    assert list(stage.folder.glob("*.sock")) == []


async def test_subscribers_of_the_bus_hear_of_its_sessions(stage: Stage) -> None:
    running = await stage.start()
    client, far = await stage.session(running)
    running.drain()
    await client.goodbye()
    await far.goodbye()
    await stage.stopped()

    told = [type(event).__name__ for event in stage.events]
    assert (told[:2], told[-1]) == (["SessionOpened", "UpstreamConnected"], "SessionEnded")


# -- TLS contexts


@pytest.fixture
def files(tmp_path: Path) -> TlsSettings:
    return issued(tmp_path)


def issued(folder: Path) -> TlsSettings:
    """A new certificate in the same two files."""
    made = trustme.CA().issue_cert("127.0.0.1")
    certificate, key = folder / "chain.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    return TlsSettings(certificate=str(certificate), private_key=str(key))


def trusting(*authorities: str | None, tls: TlsSettings | None = None) -> Snapshot:
    """A configuration with an account for each of ``authorities``."""
    accounts = tuple(
        AccountSettings(
            name=f"a{at}", provider="websocket", base_url="wss://far.test", tls_ca=authority
        )
        for at, authority in enumerate(authorities)
    )
    return Snapshot.of(Settings(server=ServerSettings(tls=tls), accounts=accounts))


def test_a_context_is_used_on_while_its_files_are_as_they_were(files: TlsSettings) -> None:
    snapshot = trusting(None, files.certificate, tls=files)

    first = Trust.of(snapshot)
    second = Trust.of(snapshot, first)
    third = Trust.of(trusting(None, tls=files), second)

    assert (second.upstream, second.clients) == (first.upstream, first.clients)
    assert third.upstream == {None: first.upstream[None]}
    assert third.clients is first.clients


def test_a_file_that_has_changed_makes_a_new_context_and_no_other(
    files: TlsSettings, tmp_path: Path
) -> None:
    snapshot = trusting(None, files.certificate, tls=files)
    first = Trust.of(snapshot)

    issued(tmp_path)
    second = Trust.of(snapshot, first)

    assert second.clients is not first.clients
    assert second.upstream[files.certificate] is not first.upstream[files.certificate]
    assert second.upstream[None] is first.upstream[None]


def test_a_file_that_is_gone_is_told_though_there_is_a_context_of_it(files: TlsSettings) -> None:
    snapshot = trusting(tls=files)
    first = Trust.of(snapshot)
    Path(files.private_key).unlink()

    with pytest.raises(TlsFileError, match=r"key\.pem: no such file"):
        Trust.of(snapshot, first)
