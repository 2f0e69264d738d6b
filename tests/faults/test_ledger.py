"""A ledger that cannot be written to: who is turned away meanwhile, and that no row is lost."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import attrs
import pytest
import trio

from relayd.config.schema import LedgerSettings
from relayd.ledger.database import open_read_only
from relayd.observe.events import LogEvent
from relayd.session.books import Books
from tests.faults.harness import CREATE, REALTIME, Relay, Stage, account
from tests.faults.money import (
    PRICES,
    UNTIL_MIDNIGHT_S,
    Wall,
    ask,
    create,
    created,
    done,
    error_event,
    error_in,
    key,
    leave,
    pass_on,
    turn,
    watch_books,
)
from tests.faults.wire import SOON_S, TEXT, Response, Wire, frame

CLEAR = b'{"type":"input_audio_buffer.clear"}'
DISK_BYTES = 1024 * 1024
PATIENCE_S = 2 * SOON_S
"""Attempts to write come up to 5 s apart."""


class Place(Protocol):
    """Where a ledger is that can be made to fail."""

    @property
    def ledger(self) -> Path:
        """The database's file."""

    def fail(self) -> None:
        """Nothing can be written from now on."""

    def mend(self) -> None:
        """It can be again."""


@attrs.frozen
class Folder:
    """A directory that is moved away, and back again."""

    path: Path

    @property
    def ledger(self) -> Path:
        return self.path / "relayd.db"

    def fail(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def mend(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


@attrs.frozen
class Disk:
    """A file system that is full, until something on it is removed."""

    path: Path

    @property
    def ledger(self) -> Path:
        return self.path / "relayd.db"

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fail(self) -> None:
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for _ in range(DISK_BYTES // 4096 + 1):
                file.write(b"\0" * 4096)
        assert shutil.disk_usage(self.path).free == 0

    def mend(self) -> None:
        self._ballast.unlink()


@pytest.fixture(params=["folder", pytest.param("disk", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where the ledger is."""
    path = tmp_path / "ledger"
    path.mkdir()
    if request.param == "folder":
        yield Folder(path)
        return
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("needs mount and umount")
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "relayd-test", str(path)]
    made = subprocess.run([mount, *options], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run([umount, "--lazy", str(path)], check=True)


def refusing(place: Place) -> LedgerSettings:
    return LedgerSettings(url=f"sqlite:{place.ledger}", on_failure="refuse")


def spilling(place: Place) -> LedgerSettings:
    return LedgerSettings(url=f"sqlite:{place.ledger}", on_failure="spill")


async def ready(relay: Relay) -> tuple[int, bool]:
    """The status of ``/readyz``, and whether it says that the ledger fails."""
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.connect(relay.running.admin.removeprefix("unix:"))
    wire = Wire(sock)
    await wire.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await wire.end()
    wire.close()
    response = Response.parse(bytes(wire.seen))
    return response.status, json.loads(response.body)["ledger_failing"]


def recorded(place: Place) -> Counter[str]:
    """How often each response is in the ledger."""
    with closing(open_read_only(place.ledger)) as connection:
        return Counter(name for (name,) in connection.execute("SELECT upstream_id FROM rows"))


async def recovered(relay: Relay) -> None:
    """Until everything is written."""
    with trio.fail_after(PATIENCE_S):
        await relay.log.wait(LogEvent.LEDGER_RECOVERED)


async def test_while_rows_cannot_be_written_nothing_new_begins_and_nothing_is_lost(
    stage: Stage, place: Place
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, ledger=refusing(place)) as relay:
        client, far = await relay.conversation(upstream)
        other, other_far = await relay.conversation(upstream)
        await turn(client, far, "before")
        await relay.log.wait(LogEvent.TURN_ENDED)
        assert await ready(relay) == (200, False)
        await ask(other, other_far)
        await pass_on(other_far, other, created("running"))

        place.fail()
        await turn(client, far, "unwritten")
        await relay.log.wait(LogEvent.LEDGER_FAILED)
        assert await ready(relay) == (503, True)

        refusal = await relay.refusal(await relay.asking(REALTIME))
        await client.send(frame(TEXT, create("evt_mine")))
        error = (await client.frame()).payload
        await ask(client, far, CLEAR)  # the create before it did not go on
        await pass_on(other_far, other, done("running"))

        place.mend()
        await recovered(relay)
        assert await ready(relay) == (200, False)
        await turn(client, far, "after")
        await relay.conversation(upstream)
        await relay.log.wait(LogEvent.TURN_ENDED, 4)
        assert recorded(place) == Counter(["before", "unwritten", "running", "after"])

    assert refusal.status == 503
    assert b"\r\nRetry-After: 5\r\n" in refusal.head.encode() + b"\r\n"
    assert json.loads(refusal.body)["error"]["code"] == "ledger_unavailable"
    line = await stage.log.refused()
    assert (line["status"], line["reason"]) == (503, "ledger_unavailable")
    assert error == error_event(
        "server_error",
        "ledger_unavailable",
        "relayd cannot write down what is used just now, so it starts nothing new; try again"
        " shortly.",
        "evt_mine",
    )
    assert len(stage.log.of(LogEvent.LEDGER_FAILED)) == 1
    assert not stage.log.of(LogEvent.LEDGER_LOST)


async def test_a_turn_of_the_upstream_s_own_is_the_last_while_none_may_begin(
    stage: Stage, place: Place
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, ledger=refusing(place)) as relay:
        client, far = await relay.conversation(upstream)
        place.fail()
        await turn(client, far, "unwritten")
        await relay.log.wait(LogEvent.LEDGER_FAILED)

        await pass_on(far, client, created("unasked"))
        await pass_on(far, client, done("unasked"))

        error = error_in(await client.frame())
        assert (error["code"], error["event_id"]) == ("ledger_unavailable", None)
        assert await client.goodbye() == 1013
        assert await far.goodbye() == 1001
        line = await relay.log.session_ended()
        place.mend()
        await recovered(relay)
        assert recorded(place) == Counter(["unwritten", "unasked"])

    assert (line["reason"], line["fault"], line["turns"]) == ("overload", "relay", 2)


async def test_what_spills_goes_on_and_is_written_later(stage: Stage, place: Place) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    turns = [f"r{number}" for number in range(20)]
    async with stage.relay(only, ledger=spilling(place)) as relay:
        client, far = await relay.conversation(upstream)
        place.fail()
        await turn(client, far, turns[0])
        await relay.log.wait(LogEvent.LEDGER_FAILED)
        assert await ready(relay) == (503, True)

        other, other_far = await relay.conversation(upstream)
        for number, name in enumerate(turns[1:]):
            await turn(*((client, far), (other, other_far))[number % 2], name)
        await leave(other, other_far)
        line = await relay.log.session_ended()
        assert len(stage.log.of(LogEvent.TURN_ENDED)) == len(turns), "none waits for the ledger"

        place.mend()
        await recovered(relay)
        assert await ready(relay) == (200, False)
        assert recorded(place) == Counter(turns)

    assert line["turns"] == 9
    assert not stage.log.of(LogEvent.LEDGER_LOST)


async def test_what_cannot_be_written_to_the_end_is_said_to_be_lost(
    stage: Stage, place: Place
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, ledger=spilling(place)) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "written")
        await relay.log.wait(LogEvent.TURN_ENDED)
        place.fail()
        for number in range(3):
            await turn(client, far, f"lost {number}")
        await relay.log.wait(LogEvent.TURN_ENDED, 4)
        await leave(client, far)
        await relay.log.session_ended()

    place.mend()
    assert recorded(place) == Counter(["written"])
    (lost,) = stage.log.of(LogEvent.LEDGER_LOST)
    assert lost["rows"] == 3


async def test_a_budget_counts_what_waits_to_be_written(
    stage: Stage, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, wall, books = await stage.upstream(), Wall(), watch_books(monkeypatch)
    only = account(upstream, provider="compatible")
    async with stage.relay(
        only, ledger=spilling(place), key=key("0.1"), prices=PRICES, wall=wall
    ) as relay:
        client, far = await relay.conversation(upstream)
        place.fail()
        for number in range(2):
            await turn(client, far, f"r{number}", text_out=3000)
        await relay.log.wait(LogEvent.LEDGER_FAILED)

        await client.send(frame(TEXT, CREATE))  # 0.06 are spent, and 0.041 to be set aside

        error = error_in(await client.frame())
        assert error["code"] == "insufficient_quota"
        await client.goodbye()
        await far.goodbye()
        place.mend()
        await recovered(relay)
        assert await spent(books[0]) == 60_000_000
        day = int(wall()) - UNTIL_MIDNIGHT_S
        counter = await books[0].limits.store.get(f"budget:dev:day:{day}")
        assert counter == b"60000000"


async def spent(books: Books) -> int:
    """What the ledger says the key has spent, in nano-dollars."""
    return await books.ledger.spent("dev", 0.0, counted=lambda: None)
