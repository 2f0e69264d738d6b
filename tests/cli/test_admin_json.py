"""Requests with a body, to a running relayd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from relayd.cli.admin_client import AdminClient, Refused, Unavailable
from relayd.cli.admin_json import post_json
from relayd.config.address import UnixAddress, parse_address
from relayd.config.secret import Secret
from relayd.service.admin.device_shapes import Alert, AlertedAll
from tests.cli.conftest import Ops
from tests.service.admin.stage import TOKEN

PATH = "/admin/v1/devices/alert"


async def post(client: AdminClient, said: Alert) -> AlertedAll:
    """As a verb does, which blocks."""
    return await trio.to_thread.run_sync(post_json, client, PATH, said, AlertedAll)


async def test_what_is_said_arrives_over_a_unix_socket_and_over_tcp(
    ops: Ops, remote_ops: Ops
) -> None:
    for each in (ops, remote_ops):
        assert each.stage.desk is not None
        device = each.stage.desk.device()

        client = AdminClient(parse_address(each.address), Secret(TOKEN))
        done = await post(client, Alert("Dinner \N{BELL}"))

        assert done == AlertedAll(1, 0)
        assert device.said == ["alert Alert: Dinner \N{BELL} (neutral)"]


async def test_an_error_has_its_code_whatever_its_status(ops: Ops, remote_ops: Ops) -> None:
    with pytest.raises(Refused) as invalid:
        await post(AdminClient(parse_address(ops.address)), Alert(""))
    with pytest.raises(Refused) as unknown:
        await post(AdminClient(parse_address(remote_ops.address)), Alert("hi"))

    assert (invalid.value.status, invalid.value.code) == (400, "invalid_parameter")
    assert unknown.value.status == 401


async def test_where_nobody_listens_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no such file"):
        await post(AdminClient(UnixAddress(str(tmp_path / "none.sock"))), Alert("hi"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = parse_address(f"127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(Unavailable, match="refused"):
            await post(AdminClient(address), Alert("hi"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "closed the connection"),
        (b"SSH-2.0\r\n\r\n", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "another service"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", "another service"),
    ],
)
async def test_somebody_else_is_not_mistaken_for_relayd(
    nursery: trio.Nursery, said: bytes, told: str
) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(said)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    address = parse_address(f"127.0.0.1:{listener.socket.getsockname()[1]}")

    with pytest.raises(Unavailable, match=told):
        await post(AdminClient(address), Alert("hi"))
    nursery.cancel_scope.cancel()
