"""The least that a Trio program can do as a relay: copy bytes, and look at none of them.

It is run as a program of its own, and stands beside relayd where turns are measured. Each client
has an upstream socket for itself, dialled when it connects, and two tasks that receive and send.

Usage: bare.py LISTENING_DESCRIPTOR HOST PORT
"""

from __future__ import annotations

import socket
import sys
from typing import Final

import trio

RECEIVE_BYTES: Final = 65536

Address = tuple[str, int]


async def serve(listener: trio.socket.SocketType, upstream: Address) -> None:
    """Relay every client of ``listener`` to ``upstream``, until cancelled."""
    async with trio.open_nursery() as nursery:
        while True:
            client, _ = await listener.accept()
            nursery.start_soon(relay, client, upstream)


async def relay(client: trio.socket.SocketType, address: Address) -> None:
    """Relay one client until either side ends; both sockets are closed then."""
    with client, trio.socket.socket() as upstream:
        for sock in (client, upstream):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await upstream.connect(address)
        except OSError:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_copy, client, upstream, nursery.cancel_scope)
            nursery.start_soon(_copy, upstream, client, nursery.cancel_scope)


async def _copy(
    source: trio.socket.SocketType, sink: trio.socket.SocketType, over: trio.CancelScope
) -> None:
    try:
        while data := await source.recv(RECEIVE_BYTES):
            sent = await sink.send(data)
            while sent < len(data):
                sent += await sink.send(memoryview(data)[sent:])
    except OSError:  # a reset is an end like any other
        pass
    over.cancel()


def main() -> None:
    """Serve on the descriptor that was handed over."""
    descriptor, host, port = sys.argv[1:]
    listener = trio.socket.from_stdlib_socket(socket.socket(fileno=int(descriptor)))
    trio.run(serve, listener, (host, int(port)))


if __name__ == "__main__":
    main()
