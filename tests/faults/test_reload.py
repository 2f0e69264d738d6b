"""A new configuration in the same process: who goes on, who ends and how, and what is refused."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio
import trustme

from relayd.config.accounts import AccountSettings
from relayd.config.load import load
from relayd.config.mistakes import ConfigError, Mistake
from relayd.config.proxy import parse_proxy
from relayd.config.schema import KeySettings, Settings, TlsSettings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Snapshot
from relayd.observe.events import LogEvent
from relayd.service.difference import NOTHING, Changes, ReloadOutcome
from tests.faults.conftest import Certificate
from tests.faults.harness import (
    BEARER,
    CLIENT_KEY,
    CREATE,
    KEY,
    LIMITS,
    PASSTHROUGH,
    Relay,
    Stage,
    Upstream,
    accepted,
    account,
)
from tests.faults.wire import TEXT, Ended, Wire, accepting, frame, upgrade

CREATED = b'{"type":"response.created","response":{"id":"r1"}}'
DONE = b'{"type":"response.done","response":{"id":"r1","status":"completed"}}'
OTHER = KeySettings(name="other", secret=KeyDigest.of("canary-of-other"))
OTHERS = {"Authorization": "Bearer canary-of-other"}


@attrs.define(eq=False)
class File:
    """The configuration file as the test leaves it."""

    content: Snapshot | Exception
    settled: list[Snapshot] = attrs.field(factory=list)
    on_read: Callable[[], None] = lambda: None

    def read(self) -> Snapshot:
        self.on_read()
        if isinstance(self.content, Exception):
            raise self.content
        return self.content

    async def ready(self, snapshot: Snapshot) -> Snapshot:
        return snapshot

    def settle(self, snapshot: Snapshot) -> None:
        self.settled.append(snapshot)


def settings(stage: Stage, *accounts: AccountSettings, keys: tuple[KeySettings, ...]) -> Settings:
    """The stage's own, with other keys."""
    return attrs.evolve(stage.snapshot(*accounts).settings, keys=keys)


def listening(snapshot: Snapshot, *listen: str) -> Snapshot:
    """The same configuration with other addresses."""
    server = attrs.evolve(snapshot.settings.server, listen=listen)
    return Snapshot.of(attrs.evolve(snapshot.settings, server=server))


async def reloaded(relay: Relay) -> ReloadOutcome:
    with trio.fail_after(5):
        return await relay.running.reload()


async def echo(client: Wire, far: Wire, payload: bytes = b"still here") -> None:
    """Prove that a session relays both ways."""
    await client.send(frame(TEXT, payload))
    assert (await far.frame()).payload == payload
    await far.send(frame(TEXT, payload, masked=False))
    assert (await client.frame()).payload == payload


async def ask(client: Wire, far: Wire) -> None:
    """Begin a response."""
    await client.send(frame(TEXT, CREATE))
    assert (await far.frame()).payload == CREATE
    await far.send(frame(TEXT, CREATED, masked=False))
    assert (await client.frame()).payload == CREATED


async def finish(client: Wire, far: Wire) -> None:
    await far.send(frame(TEXT, DONE, masked=False))
    assert (await client.frame()).payload == DONE


# -- keys


async def test_a_new_key_works_and_a_removed_ones_session_ends_with_1008(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream)
    file = File(Snapshot.of(settings(stage, only, keys=(OTHER,))))
    async with stage.relay(only, source=file) as relay:
        client, far = await relay.session(upstream)

        outcome = await reloaded(relay)

        assert outcome.applied
        assert outcome.difference.keys == Changes(added=("other",), removed=("dev",))
        assert await client.goodbye() == 1008
        assert await far.goodbye() == 1001
        assert (await relay.refusal(await relay.asking())).status == 401
        newcomer = await relay.asking(headers=OTHERS)
        newcomers_far = await upstream.accept_upgrade()
        await accepted(newcomer)
        await echo(newcomer, newcomers_far)
        line = await relay.log.session_ended()

    assert line["reason"] == "key_removed"


async def test_a_key_that_goes_while_its_upstream_is_dialled_opens_no_session_that_lasts(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    only = account(upstream)
    file = File(Snapshot.of(settings(stage, only, keys=(OTHER,))))
    async with stage.relay(only, source=file) as relay:
        client = await relay.asking()
        far = await upstream.accept()
        request = await far.head()

        assert (await reloaded(relay)).applied
        await far.send(accepting(request))

        await accepted(client)
        assert await client.goodbye() == 1008
        await far.goodbye()
        line = await relay.log.session_ended()

    assert line["reason"] == "key_removed"


# -- accounts


@pytest.mark.parametrize("how", ["removed", "disabled"])
async def test_an_account_that_goes_ends_its_sessions_after_their_running_response(
    stage: Stage, how: str
) -> None:
    upstream, spare = await stage.upstream(), await stage.upstream()
    going = account(upstream, "going", provider="compatible")
    staying = account(spare, "staying", provider="compatible", priority=1)
    left = (attrs.evolve(going, enabled=False), staying) if how == "disabled" else (staying,)
    file = File(stage.snapshot(*left))
    async with stage.relay(going, staying, source=file) as relay:
        idle, idle_far = await relay.conversation(upstream)
        busy, busy_far = await relay.conversation(upstream)
        await ask(busy, busy_far)

        outcome = await reloaded(relay)

        assert outcome.difference.accounts == Changes(removed=("going",))
        assert await idle.goodbye() == 1012
        assert await idle_far.goodbye() == 1000
        await busy.send(frame(TEXT, CREATE))  # another one is refused meanwhile
        error = json.loads((await busy.frame()).payload)["error"]
        await finish(busy, busy_far)
        assert await busy.goodbye() == 1012
        assert await busy_far.goodbye() == 1000
        client, far = await relay.conversation(spare)
        await ask(client, far)
        line = await relay.log.session_ended(2)

    assert error["code"] == "account_removed"
    assert (line["reason"], line["fault"], line["turns"]) == ("account_removed", "none", 1)


async def test_other_credentials_are_for_new_sessions_and_old_ones_go_on(stage: Stage) -> None:
    upstream = await stage.upstream()
    before = account(upstream)
    after = attrs.evolve(before, api_key=Secret("canary-of-upstream-2"))
    async with stage.relay(before, source=File(stage.snapshot(after))) as relay:
        client, far = await relay.session(upstream)

        outcome = await reloaded(relay)

        assert outcome.difference.accounts == Changes(changed=("echo",))
        await echo(client, far)
        await relay.session(upstream)
        presented = [b"Bearer canary-of-upstream\r" in bytes(wire.seen) for wire in upstream.wires]
        presented += [b"Bearer canary-of-upstream-2\r" in upstream.wires[1].seen]

    assert presented == [True, False, True]


async def test_an_upstreams_authority_is_trusted_from_the_reload_on(
    stage: Stage, certificate: Certificate
) -> None:
    upstream = await stage.upstream()
    distrusting = attrs.evolve(account(upstream, tls_ca=certificate.ca), tls_ca=None)
    file = File(stage.snapshot(account(upstream, tls_ca=certificate.ca)))
    async with stage.relay(distrusting, source=file) as relay:
        client = await relay.asking()
        far = await upstream.accept()
        with pytest.raises(Exception, match=r"(?i)alert|FIN|RESET"):
            await far.start_tls(certificate.showing)
        assert (await relay.refusal(client)).status == 502

        assert (await reloaded(relay)).applied

        client = await relay.asking()
        far = await upstream.accept()
        await far.start_tls(certificate.showing)
        await far.send(accepting(await far.head()))
        await accepted(client)
        await echo(client, far)


async def test_an_account_that_goes_while_it_is_dialled_opens_no_session_that_lasts(
    stage: Stage, certificate: Certificate
) -> None:
    """Its authority goes with it, though the dial still needs that."""
    proxy = await stage.upstream()
    going = attrs.evolve(
        account(1, tls_ca=certificate.ca), proxy=parse_proxy(f"http://127.0.0.1:{proxy.port}")
    )
    async with stage.relay(going, source=File(stage.snapshot())) as relay:
        client = await relay.asking()
        far = await proxy.accept()
        assert (await far.head()).startswith(b"CONNECT 127.0.0.1:1 ")

        assert (await reloaded(relay)).difference.accounts.removed == ("echo",)
        await far.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await far.start_tls(certificate.showing)
        await far.send(accepting(await far.head()))

        await accepted(client)
        assert await client.goodbye() == 1012
        await far.finish()
        line = await relay.log.session_ended()

    assert line["reason"] == "account_removed"


# -- certificates


async def test_a_new_certificate_is_for_new_handshakes_and_old_sessions_go_on(
    stage: Stage, certificate: Certificate, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    only = account(upstream)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    write(certificate, chain, key)
    tls = TlsSettings(certificate=str(chain), private_key=str(key))
    file = File(stage.snapshot(only, tls=tls))
    async with stage.relay(only, tls=tls, source=file) as relay:
        client = await secured(relay)
        far = await upstream.accept_upgrade()
        await accepted(client)
        first = shown(client)
        assert shown(await secured(relay)) == first
        (await upstream.accept_upgrade()).close()

        other = trustme.CA().issue_cert("127.0.0.1")
        chain.write_bytes(b"".join(part.bytes() for part in other.cert_chain_pems))
        other.private_key_pem.write_to_path(str(key))
        assert (await reloaded(relay)).applied

        assert shown(await secured(relay)) != first
        (await upstream.accept_upgrade()).close()
        await echo(client, far)


async def test_a_certificate_that_does_not_fit_its_key_changes_nothing(
    stage: Stage, certificate: Certificate, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    tls = TlsSettings(certificate=certificate.settings.certificate, private_key=certificate.ca)
    file = File(stage.snapshot(tls=tls))
    async with stage.relay(account(upstream), source=file) as relay:
        outcome = await reloaded(relay)
        client, far = await relay.session(upstream)
        await echo(client, far)

    assert not outcome.applied
    assert certificate.ca in outcome.mistakes[0].message


def write(certificate: Certificate, chain: Path, key: Path) -> None:
    chain.write_bytes(Path(certificate.settings.certificate).read_bytes())
    key.write_bytes(Path(certificate.settings.private_key).read_bytes())


async def secured(relay: Relay) -> Wire:
    """A client that has asked for a session over TLS, and looks at no certificate."""
    wire = await relay.client()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    await wire.start_tls(context)
    await wire.send(upgrade(PASSTHROUGH, BEARER))
    return wire


def shown(wire: Wire) -> bytes | None:
    assert wire.tls is not None
    return wire.tls.getpeercert(binary_form=True)


# -- listeners


async def test_listeners_come_and_go_and_the_sessions_of_one_that_went_go_on(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    snapshot = stage.snapshot(account(upstream))
    path = f"unix:{tmp_path / 'public.sock'}"
    file = File(listening(snapshot, path, "[::1]:0"))
    async with stage.relay(account(upstream), source=file) as relay:
        client, far = await relay.session(upstream)
        (before,) = relay.running.addresses

        outcome = await reloaded(relay)

        difference = outcome.difference
        assert difference.listeners_removed == (before,)
        assert difference.listeners_added == outcome.listen
        assert outcome.listen[0] == path
        assert outcome.listen[1].startswith("[::1]:")
        with pytest.raises(ConnectionRefusedError):
            await relay.client()
        await echo(client, far)
        newcomer = trio.socket.socket(socket.AF_UNIX)
        await newcomer.connect(path.removeprefix("unix:"))
        relay.clients.append(Wire(newcomer))
        await relay.clients[-1].send(upgrade(PASSTHROUGH, BEARER))
        await upstream.accept_upgrade()
        await accepted(relay.clients[-1])

        file.content = listening(snapshot, "127.0.0.1:0")
        outcome = await reloaded(relay)

        assert outcome.difference.listeners_removed == difference.listeners_added
        assert not (tmp_path / "public.sock").exists()


async def test_an_address_that_cannot_be_bound_changes_nothing_at_all(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream)
    wanted = Snapshot.of(settings(stage, only, keys=(OTHER,)))
    file = File(listening(wanted, "127.0.0.1:0", f"127.0.0.1:{upstream.port}"))
    async with stage.relay(only, source=file) as relay:
        client, far = await relay.session(upstream)

        outcome = await reloaded(relay)

        assert not outcome.applied
        assert outcome.listen == relay.running.addresses
        await echo(client, far)
        await relay.session(upstream)
        (line,) = relay.log.of(LogEvent.CONFIG_REFUSED)

    assert (line["level"], line["path"]) == ("error", "server.listen")
    assert line["message"].startswith(f"cannot listen on 127.0.0.1:{upstream.port}: address alre")
    assert outcome.mistakes == (Mistake(line["path"], line["message"]),)
    assert outcome.difference is NOTHING


async def test_a_wider_address_of_its_own_port_says_what_to_do(stage: Stage) -> None:
    file = File(stage.snapshot())
    async with stage.relay(source=file) as relay:
        (own,) = relay.running.addresses
        file.content = listening(stage.snapshot(), own.replace("127.0.0.1", "0.0.0.0"))
        outcome = await reloaded(relay)

    assert "address already in use" in outcome.mistakes[0].message
    assert f"(relayd has {own}: an address that" in outcome.mistakes[0].message


# -- what is not used


async def test_a_bad_file_changes_nothing_and_every_mistake_is_said(stage: Stage) -> None:
    upstream = await stage.upstream()
    mistakes = (Mistake("keys[0].name", "missing"), Mistake("usd", "unknown", file="prices.toml"))
    file = File(ConfigError("relayd.toml", mistakes))
    async with stage.relay(account(upstream), source=file) as relay:
        client, far = await relay.session(upstream)

        outcome = await reloaded(relay)

        assert (outcome.applied, outcome.mistakes) == (False, mistakes)
        await echo(client, far)
        await relay.session(upstream)

    lines = [(line["path"], line["message"]) for line in stage.log.of(LogEvent.CONFIG_REFUSED)]
    assert lines == [("keys[0].name", "missing"), ("prices.toml: usd", "unknown")]
    assert stage.log.of(LogEvent.CONFIG_RELOADED) == []


async def test_a_bug_in_reading_ends_no_session(stage: Stage) -> None:
    upstream = await stage.upstream()
    file = File(ZeroDivisionError("a bug"))
    async with stage.relay(account(upstream), source=file) as relay:
        client, far = await relay.session(upstream)
        outcome = await reloaded(relay)
        await echo(client, far)
        file.content = stage.snapshot(account(upstream))
        assert (await reloaded(relay)).applied

    assert not outcome.applied
    (line,) = stage.log.of(LogEvent.RELOAD_CRASHED)
    assert "ZeroDivisionError" in line["traceback"]


async def test_without_a_file_there_is_nothing_to_reload(stage: Stage) -> None:
    async with stage.relay() as relay:
        outcome = await reloaded(relay)

    assert [mistake.message for mistake in outcome.mistakes] == ["there is no file to read again"]


async def test_a_drain_that_begins_during_a_reload_wins_and_nothing_stays_open(
    stage: Stage,
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reading.set()
        go_on.wait(5)

    file = File(listening(stage.snapshot(), "127.0.0.1:0", "[::1]:0"), on_read=wait)
    outcomes: list[ReloadOutcome] = []
    async with stage.relay(source=file, drain_s=30.0) as relay:

        async def reload() -> None:
            outcomes.append(await relay.running.reload())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload)
            await trio.to_thread.run_sync(reading.wait)
            relay.running.drain()
            await relay.log.wait(LogEvent.DRAIN_STARTED)
            go_on.set()
        outcomes.append(await relay.running.reload())
        await relay.stopped()

    messages = [mistake.message for outcome in outcomes for mistake in outcome.mistakes]
    assert messages == ["relayd is draining and takes no new configuration"] * 2
    assert len(stage.log.of(LogEvent.CONFIG_REFUSED)) == 2
    assert len(file.settled) == 1


async def test_reloads_come_one_after_the_other(stage: Stage) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def count() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)  # in its thread, so long that another one would be seen beside it
        with lock:
            running -= 1

    file = File(stage.snapshot(), on_read=count)
    async with stage.relay(source=file) as relay, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(relay.running.reload)

    assert most == 1
    assert len(stage.log.of(LogEvent.CONFIG_RELOADED)) == 4


async def test_a_reload_that_is_cancelled_has_happened_or_has_not(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream)
    scope = trio.CancelScope()
    file = File(Snapshot.of(settings(stage, only, keys=(OTHER,))))
    file.on_read = lambda: trio.from_thread.run_sync(scope.cancel)
    async with stage.relay(only, source=file) as relay:
        with scope:
            await relay.running.reload()
        assert scope.cancelled_caught
        await relay.session(upstream)  # by the key that the file has no more


# -- limits and the rest


async def test_limits_of_the_process_hold_from_the_reload_on(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream)
    limits = attrs.evolve(LIMITS, sessions_max=1, hold_max_bytes=4096)
    async with stage.relay(only, source=File(stage.snapshot(only, limits=limits))) as relay:
        client, far = await relay.session(upstream)

        assert (await reloaded(relay)).applied

        refusal = await relay.refusal(await relay.asking())
        assert relay.hold.bytes_max == 4096
        await echo(client, far, b"x" * 5000)

    assert refusal.status == 503


async def test_the_drain_takes_as_long_as_the_new_configuration_says(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    file = File(stage.snapshot(only, drain_s=0.1))
    async with stage.relay(only, source=file, drain_s=30.0) as relay:
        client, far = await relay.conversation(upstream)
        await ask(client, far)
        await reloaded(relay)

        relay.running.drain()

        assert await client.goodbye() == 1012
        await far.goodbye()
        await relay.stopped()
    assert stage.log.of(LogEvent.DRAIN_STARTED)[0]["drain_s"] == 0.1


async def test_what_needs_a_restart_is_said_each_time_and_the_rest_is_used(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    only = account(upstream)
    wanted = settings(stage, only, keys=(KEY, OTHER))
    server = attrs.evolve(wanted.server, admin=f"unix:{tmp_path / 'elsewhere.sock'}")
    ledger = attrs.evolve(wanted.ledger, on_failure="spill")
    file = File(Snapshot.of(attrs.evolve(wanted, server=server, ledger=ledger)))
    async with stage.relay(only, source=file) as relay:
        first, second = await reloaded(relay), await reloaded(relay)

    assert first.applied
    assert first.difference.keys.added == ("other",)
    assert second.difference == NOTHING
    assert first.postponed == second.postponed == ("server.admin", "ledger.on_failure")
    lines = stage.log.of(LogEvent.CONFIG_POSTPONED)
    assert [line["path"] for line in lines] == [*first.postponed, *second.postponed]
    assert {line["level"] for line in lines} == {"warning"}


async def test_the_log_says_what_has_changed(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream)
    wanted = settings(stage, account(upstream, "new"), keys=(KEY, OTHER))
    log = attrs.evolve(wanted.log, level="warning")
    file = File(Snapshot.of(attrs.evolve(wanted, log=log)))
    async with stage.relay(only, source=file) as relay:
        await reloaded(relay)
        file.content = stage.snapshot(only)
        await reloaded(relay)

    (line,) = stage.log.of(LogEvent.CONFIG_RELOADED)  # the first one was below its own level
    counts = {name: line[name] for name in line if name.endswith(("added", "changed", "removed"))}
    assert {name: count for name, count in counts.items() if count} == {
        "keys_removed": 1,
        "accounts_added": 1,
        "accounts_removed": 1,
    }
    assert line["duration_ms"] > 0


# -- a crowd

CROWD = 1000
RELOADS = 100


@attrs.frozen
class Toml:
    """A configuration file that a test writes again and again."""

    folder: Path
    port: int

    def write(self, number: int) -> None:
        """Every other time some keys, accounts and an address are there that else are not."""
        odd = number % 2
        listen = ["127.0.0.1:0", f"unix:{self.folder / 'odd.sock'}"][: 1 + odd]
        keys = [
            f'[[keys]]\nname = "{name}"\nsecret = "{secret}"\nmodels = ["gpt-{name}-*", "x"]\n'
            'allowed_ips = ["127.0.0.0/8"]\nrequests_per_minute = 600\n'
            for name, secret in [
                ("dev", CLIENT_KEY),
                *((f"key{at + odd}", f"sha256:{at + odd:064x}") for at in range(99)),
            ]
        ]
        accounts = [
            f'[[accounts]]\nname = "{name}"\nprovider = "websocket"\n'
            f'base_url = "ws://127.0.0.1:{self.port}"\nmodel_map = {{ {name} = "gpt-{number}" }}\n'
            for name in ["echo", *(f"account{at + odd}" for at in range(9))]
        ]
        admin = f"unix:{self.folder / 'admin.sock'}"
        head = f'[server]\nlisten = {json.dumps(listen)}\nadmin = "{admin}"\n'
        head += f"[limits]\nsessions_max = {2000 + number}\nkeepalive_s = 600\n"
        head += "keepalive_timeout_s = 1200\n[ledger]\nurl = 'sqlite::memory:'\n"
        (self.folder / "relayd.toml").write_text(head + "".join(keys + accounts))

    def read(self) -> Snapshot:
        return Snapshot.of(load(self.folder / "relayd.toml", environ={}))

    async def ready(self, snapshot: Snapshot) -> Snapshot:
        return snapshot

    def settle(self, snapshot: Snapshot) -> None:
        pass


@pytest.mark.slow
async def test_100_reloads_under_1000_sessions_and_a_connect_loop_lose_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    toml = Toml(tmp_path, upstream.port)
    toml.write(0)
    served, over = 0, False
    async with (
        stage.relay(account(upstream), source=toml) as relay,
        trio.open_nursery() as upstreams,
        trio.open_nursery() as clients,
    ):
        upstreams.start_soon(echo_for_ever, upstream, upstreams)
        assert (await reloaded(relay)).applied
        connecting = trio.Event()
        crowd = [await relay.asking() for _ in range(CROWD)]
        for client in crowd:
            await accepted(client)

        async def connect_again_and_again() -> None:
            nonlocal served
            while not over:
                newcomer = await relay.asking()
                await accepted(newcomer)
                await says_back(newcomer, b"new")
                newcomer.close()
                relay.clients.remove(newcomer)
                served += 1
            connecting.set()

        clients.start_soon(connect_again_and_again)
        for number in range(1, RELOADS + 1):
            toml.write(number)
            outcome = await reloaded(relay)
            assert outcome.applied
            assert len(outcome.difference.keys.added) == len(outcome.difference.keys.removed) == 1
            for client in crowd[number % 10 :: 10]:
                await says_back(client, b"%d" % number)
        for client in crowd:
            await says_back(client, b"the end")
        over = True
        await connecting.wait()
        upstreams.cancel_scope.cancel()

    reasons = {line["reason"] for line in stage.log.of(LogEvent.SESSION_ENDED)}
    assert reasons <= {"client_gone", "upstream_lost", "drain"}, "none by a reload"
    assert stage.log.of(LogEvent.CONNECTION_REFUSED) == []
    assert served > RELOADS


async def echo_for_ever(upstream: Upstream, nursery: trio.Nursery) -> None:
    """Accept every session and send back what it says."""

    async def serve(far: Wire) -> None:
        while True:
            try:
                got = await far.frame()
            except trio.TooSlowError:
                continue  # its client has nothing to say for a while
            except Ended:
                far.close()
                return
            await far.send(frame(got.opcode, got.payload, masked=False))

    while True:
        sock, _ = await upstream.sock.accept()
        far = Wire(sock, is_client=False)
        upstream.wires.append(far)
        await far.send(accepting(await far.head()))
        nursery.start_soon(serve, far)


async def says_back(client: Wire, payload: bytes) -> None:
    await client.send(frame(TEXT, payload))
    assert (await client.frame()).payload == payload
