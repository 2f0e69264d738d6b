"""The one subscriber that stops reading, is cut off by the relay, comes back and catches up.

It follows a topic of the row and one more whose events are large, so that they fill its socket and
its queue in the relay within seconds. When it comes back it follows the row's topic alone, from the
last event that it has seen.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING, Final

from bench import hub_frames
from bench.board import Board, Counter, Phase, Tally
from bench.failures import SessionLost, UnexpectedAnswer
from bench.frames import frame_end
from bench.hub_frames import FILLER_TOPIC
from bench.loop import READ, Loop, Peer, prepare, receive, send

if TYPE_CHECKING:
    from bench.relays import Address

RECEIVE_BUFFER_BYTES: Final = 65536
OPEN_S: Final = 10.0
_TEXT: Final = 0x81
_PING: Final = 0x89


class Stopper:
    """See the module's text.

    Args:
        address: Where the relay listens.
        secret: The key that the relay knows.

    Attributes:
        has_stopped: Whether it has ceased to read.
        has_returned: Whether it has come back.
    """

    def __init__(
        self, address: Address, secret: str, *, board: Board, loop: Loop, tally: Tally
    ) -> None:
        self._address = address
        self._host = f"{address[0]}:{address[1]}"
        self._secret = secret
        self._board = board
        self._loop = loop
        self._tally = tally
        self._topic = hub_frames.topic(0)
        self._peer: Peer | None = None
        self._expected = 0
        self._last_id: str | None = None
        self._is_hearing = False
        self.has_stopped = False
        self.has_returned = False

    def open(self) -> None:
        """Subscribe, and wait until that is done.

        Raises:
            RunFailed: The relay refuses it.
        """
        self._subscribe([self._topic, FILLER_TOPIC], since=None)
        self._tally.add(Counter.ESTABLISHED)

    def look(self) -> None:
        """Stop reading when it is time to, and come back when it is time for that."""
        if self._peer is None or self.has_returned:
            return
        if self.has_stopped:
            if self._board.has_reached(Phase.RESUME) and not self._is_hearing:
                self._is_hearing = True
                self._loop.change(self._peer, READ)
            return
        if not self._board.has_reached(Phase.STALL):
            return
        self.has_stopped = True
        self._loop.change(self._peer, 0)

    def _subscribe(self, topics: list[str], since: str | None) -> None:
        """Connect and upgrade, blocking: what it costs stands against one subscriber alone."""
        with contextlib.ExitStack() as unless_it_stands:
            sock = unless_it_stands.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            sock.settimeout(OPEN_S)
            peer = Peer(sock, self._on_ready)
            self._upgrade(peer, topics, since)
            unless_it_stands.pop_all()
        prepare(sock)
        self._peer = peer
        self._loop.add(peer, READ)
        self._read(peer)

    def _upgrade(self, peer: Peer, topics: list[str], since: str | None) -> None:
        request = hub_frames.upgrade(self._host, self._secret, topics, since)
        try:
            peer.sock.connect(self._address)
            peer.sock.sendall(request)
            while (end := hub_frames.welcome_end(peer.received)) is None:
                data = peer.sock.recv(65536)
                if not data:
                    raise UnexpectedAnswer("the relay closed before its welcome")
                peer.received += data
        except OSError as error:
            raise SessionLost(f"the subscriber that stops: {error}") from error
        if since is not None and b'"recovered":true' not in peer.received[:end]:
            raise UnexpectedAnswer("the subscriber that had stopped has missed events for good")
        del peer.received[:end]

    def _on_ready(self, peer: Peer) -> None:
        data = receive(peer)
        if data is None:
            return
        if data:
            peer.received += data
            self._read(peer)
            return
        self._loop.close(peer)
        if self.has_stopped and not self.has_returned:
            # It was cut off, and has read what the kernel still had; a reset comes unasked.
            self.has_returned = True
            self._subscribe([self._topic], since=self._last_id)
            self._tally.add(Counter.RETURNED)
        elif not self._board.has_reached(Phase.DRAIN):
            raise SessionLost("the relay ended the subscriber that stops too early")

    def _read(self, peer: Peer) -> None:
        received, start = peer.received, 0
        while (end := frame_end(received, start)) is not None and end <= len(received):
            if received[start] == _TEXT:
                self._count(json.loads(received[_payload(received, start) : end]))
            elif received[start] == _PING and not self.has_stopped:
                send(peer, hub_frames.pong(received[start:end]))
            start = end
        del received[:start]

    def _count(self, event: dict[str, object]) -> None:
        if event.get("topic") != self._topic:
            return
        data, id_ = event["data"], event["id"]
        assert isinstance(data, dict)
        assert isinstance(id_, str)
        number = int(data["n"])
        if number != self._expected:
            self._tally.add(Counter.DISORDERED)
        self._expected = number + 1
        self._last_id = id_
        self._tally.add(Counter.COMPLETED)


def _payload(data: bytearray, start: int) -> int:
    """Where the payload of the frame at ``start`` begins (RFC 6455 section 5.2)."""
    return start + {126: 4, 127: 10}.get(data[start + 1], 2)
