"""The least that a program can do as an event hub: each event's frame made once, and sent to all.

It is run as a program of its own, and stands beside relayd where events are delivered: what it uses
is the kernel's part and that of a loop over sockets. One thread and one epoll; an event is sent to
its topic's subscribers in the step in which it is read. There is no key, limit, history, queue,
second wire or log. A subscriber whose socket does not take a whole frame is closed.

Usage: hub_bare.py LISTENING_DESCRIPTOR
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import select
import socket
import sys
import time
from typing import Final

RECEIVE_BYTES: Final = 65536
EPOCH: Final = "0123456789abcdef"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY: Final = re.compile(rb"(?i)\r\nsec-websocket-key:[ \t]*([^\s]+)")
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]+)")
_TOPIC: Final = re.compile(rb"^GET /[^ ]*[?&]topics=([^&, ]+)")
_END: Final = b"\r\n\r\n"


def frame(payload: bytes) -> bytes:
    """A text frame of fewer than 65,536 bytes."""
    size = len(payload)
    head = bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + size.to_bytes(2, "big")
    return head + payload


class Broadcaster:
    """Everything there is.

    Args:
        listener: Non-blocking, and listening.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._epoll.register(listener.fileno(), select.EPOLLIN)
        self._socks: dict[int, socket.socket] = {}
        self._received: dict[int, bytes] = {}
        self._topic_of: dict[int, str] = {}
        self._subscribers: dict[str, dict[int, socket.socket]] = {}
        self._number = 0

    def turn(self, wait_s: float) -> None:
        """Serve what is ready, after waiting at most so long for something to be; -1: for ever."""
        for fd, _ in self._epoll.poll(wait_s):
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._socks:
                self._serve(fd)

    def subscribers(self, topic: str) -> int:
        """How many follow a topic."""
        return len(self._subscribers.get(topic, ()))

    def close(self) -> None:
        """Close every connection."""
        for fd in [*self._socks]:
            self._drop(fd)
        self._epoll.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socks[sock.fileno()] = sock
        self._received[sock.fileno()] = b""
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _serve(self, fd: int) -> None:
        sock = self._socks[fd]
        try:
            data = sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(fd)
            return
        if fd in self._topic_of:
            return  # what a subscriber says is nothing
        received = self._received[fd] + data
        head, end, rest = received.partition(_END)
        if not end:
            self._received[fd] = received
        elif head.startswith(b"GET "):
            self._subscribe(fd, head)
        else:
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                self._received[fd] = received
                return
            self._received[fd] = rest[size:]
            self._publish(sock, rest[:size])

    def _subscribe(self, fd: int, head: bytes) -> None:
        key, topic = _KEY.search(head), _TOPIC.match(head)
        if key is None or topic is None:
            self._drop(fd)
            return
        name = topic[1].decode("latin-1")
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
        self._socks[fd].send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + accept + _END + frame(b'{"type":"welcome"}')
        )
        self._topic_of[fd] = name
        self._subscribers.setdefault(name, {})[fd] = self._socks[fd]

    def _publish(self, publisher: socket.socket, body: bytes) -> None:
        asked = json.loads(body)
        for event in asked.get("events", [asked]):
            self._tell(event)
        publisher.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )

    def _tell(self, event: dict[str, object]) -> None:
        """One event: one frame, and one send for each subscriber of its topic."""
        self._number += 1
        data = event.pop("data")
        envelope = {
            "id": f"{EPOCH}:{self._number}",
            "seq": self._number,
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
            "topic": event["topic"],
            "tenant": "bench",
            "event": event["event"],
            "session_id": None,
            "node_id": event.get("node_id"),
            "data": data,
        }
        made = frame(json.dumps(envelope, separators=(",", ":")).encode())
        refused = []
        for fd, sock in self._subscribers.get(str(event["topic"]), {}).items():
            try:
                if sock.send(made) == len(made):
                    continue
            except OSError:  # full, or gone
                pass
            refused.append(fd)
        for fd in refused:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        topic = self._topic_of.pop(fd, None)
        if topic is not None:
            del self._subscribers[topic][fd]
        del self._received[fd]
        self._socks.pop(fd).close()


def main() -> None:
    """Serve on the descriptor that was handed over."""
    (descriptor,) = sys.argv[1:]
    broadcaster = Broadcaster(socket.socket(fileno=int(descriptor)))
    while True:
        broadcaster.turn(-1)


if __name__ == "__main__":
    main()
