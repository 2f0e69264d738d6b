"""A daemon under load that is killed again and again, as a program: ``python -m``.

One parent imports everything once and forks a child for each life, which is ``relayd serve`` from
its configuration on, with its log in a pipe. As soon as it listens the parent opens sessions and
asks for one turn after the other in each. At a random moment the child is killed: in one life of
ten while it starts, else after a turn has ended. The last life ends with SIGTERM. All lives have
the same ledger.

Prints the line ``turn.ended`` of every turn, as it stands in the log.
"""

from __future__ import annotations

import fcntl
import os
import random
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final

import attrs

import relayd.cli.serve  # noqa: F401 - before the first fork, for all
from relayd.cli.main import run
from tests.faults.wire import TEXT, frame, upgrade

KEYS: Final = ("key-without-limits", "key-with-a-budget")
SESSIONS: Final = 6
"""In each life, of the keys by turns."""

EARLY: Final = 0.1
"""The part of the children that are killed early."""

START_S_MAX: Final = 0.1
"""When these are killed at the latest: while they open the ledger, too."""

WORK_S_MAX: Final = 0.25
"""How long the others go on after the first turn has ended."""

PATIENCE_S: Final = 20.0
LOG_UNREAD_BYTES: Final = 1 << 20
"""More than a child logs while its parent opens a session."""

CREATE: Final = frame(TEXT, b'{"type":"response.create","response":{"output_modalities":["text"]}}')
DONE: Final = b'"type":"response.done"'
STARTED: Final = b'"event":"server.started","listen":["'


@attrs.define(eq=False)
class Talker:
    """One session, which asks again whenever a turn has ended."""

    sock: socket.socket
    turns: int = 0
    _tail: bytes = b""

    @classmethod
    def to(cls, address: str, secret: str) -> Talker:
        host, _, port = address.rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {secret}"}
        sock.sendall(upgrade("/v1/realtime?model=gpt-realtime", headers))
        answer = sock.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        sock.sendall(CREATE)
        return cls(sock)

    def listen(self) -> None:
        """Take what has come, and ask for as many turns as have ended."""
        data = self._tail + self.sock.recv(65536)
        ended = data.count(DONE)
        self.turns += ended
        self.sock.sendall(CREATE * ended)
        # So short that it holds no whole word, which would be counted twice.
        self._tail = data[1 - len(DONE) :]


@attrs.define(eq=False)
class Child:
    """One ``relayd serve``.

    Attributes:
        pid: Of its process.
        log: What it has logged so far, as far as it was read.
    """

    pid: int
    _pipe: int
    log: bytearray = attrs.field(factory=bytearray)

    @classmethod
    def fork(cls, config: Path) -> Child:
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, LOG_UNREAD_BYTES)
        if pid := os.fork():
            os.close(writing)
            return cls(pid, reading)
        status = os.EX_SOFTWARE
        try:
            os.close(reading)
            os.dup2(writing, sys.stdout.fileno())
            os.close(writing)
            status = run(["serve", "--config", str(config), "--no-welcome"])
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            os._exit(status)

    def fileno(self) -> int:
        """For selectors: of the pipe that its log comes through."""
        return self._pipe

    def listen(self) -> None:
        """Take what it has logged; it waits while nobody does."""
        data = os.read(self._pipe, 65536)
        assert data, "it has ended by itself"
        self.log += data

    @property
    def address(self) -> str | None:
        """Where it listens, once its log says so."""
        _, found, rest = self.log.partition(STARTED)
        return rest.partition(b'"')[0].decode() if found and b"\n" in rest else None

    def end(self, signum: signal.Signals) -> int:
        """Send it the signal, and take what is left of its log; its wait status."""
        os.kill(self.pid, signum)
        with open(self._pipe, "rb") as pipe:
            self.log += pipe.read()
        return os.waitpid(self.pid, 0)[1]


def load(child: Child, work_s: float) -> None:
    """Keep a child busy until so long after its first turn has ended."""
    late = time.monotonic() + PATIENCE_S
    talkers: list[Talker] = []
    until = None
    with selectors.DefaultSelector() as selector:
        selector.register(child, selectors.EVENT_READ, child)
        while child.address is None:
            assert selector.select(late - time.monotonic()), "it does not start"
            child.listen()
        while until is None or time.monotonic() < until:
            if len(talkers) < SESSIONS:
                talkers.append(Talker.to(child.address, KEYS[len(talkers) % len(KEYS)]))
                selector.register(talkers[-1].sock, selectors.EVENT_READ, talkers[-1])
            for ready, _ in selector.select(0.001):
                ready.data.listen()
            if until is None and any(talker.turns for talker in talkers):
                until = time.monotonic() + work_s
            assert until is not None or time.monotonic() < late, "it does not serve"
    for talker in talkers:
        talker.sock.close()


def main(folder: Path, lives: int, seed: int) -> None:
    chance = random.Random(seed)
    for life in range(lives + 1):
        is_last = life == lives
        child = Child.fork(folder / "relayd.toml")
        try:
            if not is_last and chance.random() < EARLY:
                # At any moment of its start, which nothing but the clock tells apart.
                time.sleep(chance.uniform(0.0, START_S_MAX))
            else:
                load(child, chance.uniform(0.0, WORK_S_MAX))
        finally:
            status = child.end(signal.SIGTERM if is_last else signal.SIGKILL)
        assert status == (0 if is_last else signal.SIGKILL), f"life {life} ended by itself"
        for line in child.log.splitlines(keepends=True):
            if b'"event":"turn.ended"' in line and line.endswith(b"\n"):
                sys.stdout.write(line.decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
