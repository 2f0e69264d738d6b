"""Asking a running relayd for something that takes a body, in the manner of
:mod:`relayd.cli.admin_client`.
"""

from __future__ import annotations

import http.client
import os
import socket
from typing import TypeVar

import msgspec

from relayd.cli.admin_client import ANSWER_MAX_BYTES, TIMEOUT_S, AdminClient, Refused, Unavailable
from relayd.config.address import TcpAddress, UnixAddress
from relayd.service.admin.shapes import ErrorAnswer, Shape

T = TypeVar("T")


def post_json(client: AdminClient, path: str, said: Shape, shape: type[T]) -> T:
    """``POST path`` with ``said`` as its body, and the answer as ``shape``.

    Raises:
        Refused: It was answered with an error, whatever its status.
        Unavailable: It was not answered.
    """
    status, body = _request(client, path, msgspec.json.encode(said))
    try:
        if status < http.client.BAD_REQUEST:
            return msgspec.json.decode(body, type=shape)
        error = msgspec.json.decode(body, type=ErrorAnswer).error
    except msgspec.MsgspecError:
        message = f"{client.address} did not answer as relayd POST {path.partition('?')[0]}"
        raise Unavailable(f"{message}; is it another version, or another service?") from None
    raise Refused(status, error.code, error.message)


def _request(client: AdminClient, path: str, body: bytes) -> tuple[int, bytes]:
    address = client.address
    headers = {
        "Host": f"localhost:{address.port if isinstance(address, TcpAddress) else 0}",
        "Connection": "close",
        "Content-Type": "application/json",
    }
    if client.token is not None and isinstance(address, TcpAddress):
        headers["Authorization"] = f"Bearer {client.token.reveal()}"
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
    try:
        connection.sock = _connected(address)
        connection.request("POST", path, body=body, headers=headers)
        response = connection.getresponse()
        answer = response.read(ANSWER_MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        cause = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else None
        why = (cause or "it closed the connection, or took too long").lower()
        raise Unavailable(f"{address} did not answer: {why}") from None
    finally:
        connection.close()
    if len(answer) > ANSWER_MAX_BYTES:
        raise Unavailable(f"{address} answered with more than {ANSWER_MAX_BYTES} bytes")
    return response.status, answer


def _connected(address: TcpAddress | UnixAddress) -> socket.socket:
    """A connection. The caller has asked for something else there, at an address that it found."""
    if isinstance(address, TcpAddress):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
        return socket.create_connection((host, address.port), timeout=TIMEOUT_S)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT_S)
    try:
        sock.connect(address.path)
    except OSError:
        sock.close()
        raise
    return sock
