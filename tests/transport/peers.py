"""Peers for the byte path's tests: socket pairs of each kind, and the endpoint of one end."""

from __future__ import annotations

import itertools
import socket
import ssl
import struct

import attrs
import trustme

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.protocol.outcomes import Event
from relayd.transport.endpoint import Endpoint

RESET = struct.pack("ii", 1, 0)
SMALL, LARGE = 8192, 1 << 20


@attrs.frozen
class Contexts:
    """For the accepting and the dialling side of TLS."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def make_contexts() -> Contexts:
    """Contexts of an upstream, whose certificate the client's trusts."""
    authority = trustme.CA()
    made = Contexts(
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    authority.issue_cert("upstream.test").configure_cert(made.server)
    authority.configure_trust(made.client)
    return made


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def tls_pair(
    contexts: Contexts, side: Side, pair: tuple[socket.socket, socket.socket]
) -> tuple[socket.socket, socket.socket]:
    """``pair`` with shaken hands; relayd is the server of a client, and an upstream's client."""
    ours, theirs = pair
    ours.setblocking(False)
    theirs.setblocking(False)
    server, client = (ours, theirs) if side is Side.CLIENT else (theirs, ours)
    served = contexts.server.wrap_socket(server, server_side=True, do_handshake_on_connect=False)
    dialled = contexts.client.wrap_socket(
        client, server_hostname="upstream.test", do_handshake_on_connect=False
    )
    waiting = [dialled, served]
    for one in itertools.islice(itertools.cycle([dialled, served]), 100):
        if one in waiting:
            try:
                one.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(one)
    assert not waiting
    return (served, dialled) if side is Side.CLIENT else (dialled, served)


@attrs.define
class Peer:
    """The other end of one side: what it has read, and the endpoint that serves it."""

    sock: socket.socket
    endpoint: Endpoint
    events: list[Event]
    got: bytearray = attrs.Factory(bytearray)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_most(self, data: bytes) -> int:
        """Send without blocking; how much was taken."""
        sent = 0
        while sent < len(data):
            try:
                sent += self.sock.send(data[sent:])
            except (BlockingIOError, ssl.SSLWantWriteError):
                break
        return sent

    def read(self, count: int = 1 << 20) -> bytes:
        """Read what is there, up to ``count``; all of it is in ``got`` too."""
        before = len(self.got)
        while len(self.got) - before < count:
            try:
                data = self.sock.recv(min(65536, count - len(self.got) + before))
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            if not data:
                break
            self.got += data
        return bytes(self.got[before:])

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()


def make_peer(kind: str, side: Side, hold: HoldBudget, contexts: Contexts) -> Peer:
    """A peer on a pair of ``kind``: towards it little fits into the sockets, from it much."""
    match kind:
        case "unix":
            ours, theirs = socket.socketpair()
        case "tcp":
            ours, theirs = tcp_pair()
        case "tls":
            ours, theirs = tls_pair(contexts, side, tcp_pair())
        case _:  # where the kernel must not free room by itself
            ours, theirs = tls_pair(contexts, side, socket.socketpair())
    for sock in (ours, theirs):
        sock.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGE)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE)
    events: list[Event] = []
    return Peer(theirs, Endpoint(ours, side, hold, 0.0), events)
