"""TLS: contexts, the handshake from both sides, and what goes wrong told in words."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trustme
from cryptography.hazmat.primitives import serialization
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.transport import tls
from relayd.transport.errors import DialErrorKind, TlsError
from relayd.transport.tls import TlsFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 5.0
RESET = struct.pack("ii", 1, 0)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@attrs.frozen
class Files:
    """A private authority and a server that it vouches for, as PEM files."""

    authority: trustme.CA
    ca: Path
    certificate: Path
    private_key: Path
    leaf: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    made = Files(
        trustme.CA(), *(folder / name for name in ("ca.pem", "chain.pem", "key.pem", "leaf.pem"))
    )
    server = made.authority.issue_cert("upstream.test", "127.0.0.1")
    made.authority.cert_pem.write_to_path(str(made.ca))
    made.certificate.write_bytes(b"".join(part.bytes() for part in server.cert_chain_pems))
    made.leaf.write_bytes(server.cert_chain_pems[0].bytes())
    server.private_key_pem.write_to_path(str(made.private_key))
    return made


@pytest.fixture
def client(files: Files) -> ssl.SSLContext:
    return tls.client_context(files.ca)


@pytest.fixture
def server(files: Files) -> ssl.SSLContext:
    return tls.server_context(files.certificate, files.private_key)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setblocking(False)
    with near, far:
        yield near, far


async def shake(
    pair: tuple[socket.socket, socket.socket],
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    name: str = "upstream.test",
) -> tuple[ssl.SSLSocket | TlsError, ssl.SSLSocket | TlsError]:
    """Both sides at once; an error stands in the place of its side's socket."""
    ends: dict[str, ssl.SSLSocket | TlsError] = {}
    deadline = trio.current_time() + SOON

    async def near() -> None:
        try:
            ends["near"] = await tls.start_client(pair[0], client, name, deadline=deadline)
        except TlsError as error:
            ends["near"] = error

    async def far() -> None:
        try:
            ends["far"] = await tls.start_server(pair[1], server, deadline=deadline)
        except TlsError as error:
            ends["far"] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(near)
        nursery.start_soon(far)
    return ends["near"], ends["far"]


@pytest.mark.parametrize("name", ["upstream.test", "127.0.0.1"])
async def test_the_two_sides_meet_at_a_name_and_at_an_address(
    name: str,
    pair: tuple[socket.socket, socket.socket],
    client: ssl.SSLContext,
    server: ssl.SSLContext,
) -> None:
    near, far = await shake(pair, client, server, name)

    assert isinstance(near, ssl.SSLSocket)
    assert isinstance(far, ssl.SSLSocket)
    with near, far:
        near.send(b"hello")
        await trio.lowlevel.wait_readable(far)
        assert far.recv(100) == b"hello"
        assert near.version() == "TLSv1.3"
        assert near.selected_alpn_protocol() == far.selected_alpn_protocol() == "http/1.1"
        assert near.getblocking() is False


def test_both_contexts_refuse_what_is_old_and_renegotiation(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    for context in (client, server):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert ssl.OP_NO_RENEGOTIATION in context.options
        assert ssl.OP_NO_COMPRESSION in context.options


def test_an_upstream_is_verified(client: ssl.SSLContext) -> None:
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert client.check_hostname


def test_no_session_secret_is_written_because_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: Files
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))

    contexts = [tls.client_context(None), tls.server_context(files.certificate, files.private_key)]

    assert [context.keylog_filename for context in contexts] == [None, None]


async def test_the_upstreams_own_certificate_can_be_trusted_without_its_authority(
    pair: tuple[socket.socket, socket.socket], server: ssl.SSLContext, files: Files
) -> None:
    near, far = await shake(pair, tls.client_context(files.leaf), server)

    assert isinstance(near, ssl.SSLSocket)
    assert isinstance(far, ssl.SSLSocket)
    near.close()
    far.close()


async def test_an_authority_that_is_not_trusted_is_told_with_the_remedy(
    pair: tuple[socket.socket, socket.socket], server: ssl.SSLContext
) -> None:
    near, far = await shake(pair, tls.client_context(None), server)

    assert isinstance(near, TlsError)
    assert near.kind is DialErrorKind.CERTIFICATE_REFUSED
    assert near.message.startswith("certificate verify failed for upstream.test: ")
    assert near.message.endswith("name its PEM file in tls_ca")
    assert isinstance(far, TlsError)


async def test_a_certificate_for_another_name_is_told_with_the_remedy(
    pair: tuple[socket.socket, socket.socket], client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    near, _ = await shake(pair, client, server, "other.test")

    assert isinstance(near, TlsError)
    assert near.kind is DialErrorKind.CERTIFICATE_REFUSED
    assert near.message.endswith("base_url has to use a name that the certificate holds")


async def test_a_certificate_that_has_expired_is_told(
    pair: tuple[socket.socket, socket.socket], client: ssl.SSLContext, files: Files, tmp_path: Path
) -> None:
    expired = files.authority.issue_cert(
        "upstream.test",
        not_before=datetime(2001, 1, 1, tzinfo=UTC),
        not_after=datetime(2002, 1, 1, tzinfo=UTC),
    )
    expired.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "expired.pem"))
    server = tls.server_context(tmp_path / "expired.pem", tmp_path / "expired.pem")

    near, _ = await shake(pair, client, server)

    assert isinstance(near, TlsError)
    assert near.kind is DialErrorKind.CERTIFICATE_REFUSED
    assert near.message == "certificate verify failed for upstream.test: certificate has expired"


async def test_a_version_that_is_too_old_is_refused(
    pair: tuple[socket.socket, socket.socket], client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    server.maximum_version = ssl.TLSVersion.TLSv1_2

    near, far = await shake(pair, client, server)

    assert isinstance(near, TlsError)
    assert isinstance(far, TlsError)
    assert near.kind is far.kind is DialErrorKind.TLS_FAILED
    assert "protocol version" in near.message


async def test_a_plain_http_port_is_told_with_the_remedy(
    pair: tuple[socket.socket, socket.socket], client: ssl.SSLContext
) -> None:
    near, far = pair
    far.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with pytest.raises(TlsError, match="does not speak TLS on this port; is http or ws meant"):
        await tls.start_client(near, client, "upstream.test", deadline=trio.current_time() + SOON)


async def test_a_client_that_speaks_plain_http_to_a_tls_port_is_told_of(
    pair: tuple[socket.socket, socket.socket], server: ssl.SSLContext
) -> None:
    near, far = pair
    near.send(b"GET / HTTP/1.1\r\nHost: relayd\r\n\r\n")

    with pytest.raises(TlsError, match="the client does not speak TLS") as caught:
        await tls.start_server(far, server, deadline=trio.current_time() + SOON)
    assert caught.value.kind is DialErrorKind.TLS_FAILED


@pytest.mark.parametrize("how", ["end of stream", "reset", "reset before"])
async def test_a_peer_that_leaves_in_the_middle_is_lost(
    how: str,
    pair: tuple[socket.socket, socket.socket],
    client: ssl.SSLContext,
    nursery: trio.Nursery,
) -> None:
    near, far = pair
    before = descriptors()

    async def leave() -> None:
        await wait_all_tasks_blocked()
        if how == "reset":
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        far.recv(65536)
        far.close()

    if how == "reset before":
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        far.close()
    else:
        nursery.start_soon(leave)
    with pytest.raises(TlsError) as caught:
        await tls.start_client(near, client, "upstream.test", deadline=trio.current_time() + SOON)

    assert caught.value.kind is DialErrorKind.CONNECTION_LOST
    assert near.fileno() == -1
    assert descriptors() == before - 2


async def test_a_silent_peer_times_out_at_the_deadline_and_is_closed(
    pair: tuple[socket.socket, socket.socket], client: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    before = descriptors()

    with pytest.raises(TlsError, match="did not end in time") as caught:
        await tls.start_client(pair[0], client, "upstream.test", deadline=3.0)

    assert caught.value.kind is DialErrorKind.CONNECT_TIMEOUT
    assert trio.current_time() == 3.0
    assert descriptors() == before - 1


async def test_cancelling_closes_the_socket(
    pair: tuple[socket.socket, socket.socket], server: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    before = descriptors()

    with trio.move_on_after(1.0) as scope:
        await tls.start_server(pair[1], server, deadline=SOON)

    assert scope.cancelled_caught
    assert descriptors() == before - 1


async def test_handshake_alone_leaves_the_socket_to_its_owner(
    pair: tuple[socket.socket, socket.socket], client: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    sock = client.wrap_socket(
        pair[0], server_hostname="upstream.test", do_handshake_on_connect=False
    )
    with sock:
        with pytest.raises(TlsError):
            await tls.handshake(sock, 1.0)

        assert sock.fileno() != -1


async def test_a_handshake_waits_for_room_to_send(
    pair: tuple[socket.socket, socket.socket], client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    near, far = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    stuffing = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            stuffing += near.send(bytes(65536))
    deadline = trio.current_time() + SOON

    async def answer_late() -> None:
        await wait_all_tasks_blocked()
        unread = stuffing
        while unread:
            await trio.lowlevel.wait_readable(far)
            unread -= len(far.recv(min(unread, 65536)))
        (await tls.start_server(far, server, deadline=deadline)).close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_late)
        wrapped = await tls.start_client(near, client, "upstream.test", deadline=deadline)
    wrapped.close()


async def test_a_client_that_was_gone_before_the_handshake_is_lost(
    pair: tuple[socket.socket, socket.socket], server: ssl.SSLContext
) -> None:
    near, far = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    near.close()

    with pytest.raises(TlsError) as caught:
        await tls.start_server(far, server, deadline=trio.current_time() + SOON)

    assert caught.value.kind is DialErrorKind.CONNECTION_LOST
    assert far.fileno() == -1


async def test_bytes_that_are_no_handshake_are_refused(
    pair: tuple[socket.socket, socket.socket], server: ssl.SSLContext
) -> None:
    near, far = pair
    near.send(b"\x16\x03\x01\x00\x05hello")

    with pytest.raises(TlsError) as caught:
        await tls.start_server(far, server, deadline=trio.current_time() + SOON)

    assert caught.value.kind is DialErrorKind.TLS_FAILED


def test_a_missing_file_is_told_by_its_name(files: Files, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"

    with pytest.raises(TlsFileError, match=r"missing\.pem: no such file or directory"):
        tls.client_context(missing)
    with pytest.raises(TlsFileError, match=r"missing\.pem with .*: no such file or directory"):
        tls.server_context(missing, files.private_key)


def test_a_file_without_a_certificate_is_told_by_its_name(files: Files, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")

    with pytest.raises(TlsFileError, match=r"empty\.pem: no usable PEM file"):
        tls.client_context(empty)
    with pytest.raises(TlsFileError, match="no usable PEM file"):
        tls.server_context(empty, files.private_key)


def test_a_key_that_belongs_to_another_certificate_is_refused(files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    files.authority.issue_cert("other.test").private_key_pem.write_to_path(str(other))

    with pytest.raises(TlsFileError, match="key values mismatch"):
        tls.server_context(files.certificate, other)


def test_an_encrypted_key_is_refused_instead_of_asked_for_on_the_terminal(
    files: Files, tmp_path: Path
) -> None:
    encrypted = tmp_path / "encrypted.pem"
    key = serialization.load_pem_private_key(files.private_key.read_bytes(), password=None)
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )

    with pytest.raises(TlsFileError, match="without a passphrase"):
        tls.server_context(files.certificate, encrypted)
