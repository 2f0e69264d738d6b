"""TLS on a non-blocking socket: contexts for both sides, and the handshake.

An ``ssl.SSLSocket`` drives OpenSSL straight on the descriptor, which the reactor can serve as it
serves a plain socket. Only the handshake is done here, before the reactor has the socket.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import trio

from relayd.transport.errors import DialErrorKind, TlsError, describe

if TYPE_CHECKING:
    import socket
    from os import PathLike
    from typing import NoReturn

ALPN: Final = ("http/1.1",)
"""WebSocket here is HTTP/1.1 (RFC 6455); saying so keeps a peer from choosing anything else."""

_UNTRUSTED: Final = (18, 19, 20, 21)
"""X509_V_ERR_*: self-signed, self-signed in the chain, and no issuer found (two ways)."""

_WRONG_NAME: Final = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class TlsFileError(Exception):
    """A certificate or key file cannot be used. The text says which and why, and holds no key."""


def client_context(tls_ca: str | PathLike[str] | None) -> ssl.SSLContext:
    """How relayd speaks TLS to an upstream: TLS 1.2 or newer, certificate and name verified.

    It is costly (20 ms and 2 MB: the system's trust store is parsed) and made to be shared.

    Args:
        tls_ca: A PEM file with certificates to trust besides the system's. They need not be
            authorities: an upstream's own certificate will do.

    Raises:
        TlsFileError: ``tls_ca`` cannot be read or holds no certificate.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if tls_ca:
        try:
            context.load_verify_locations(cafile=tls_ca)
        except OSError as error:
            raise TlsFileError(f"{tls_ca}: {_file_trouble(error)}") from None
    return context


def server_context(
    certificate: str | PathLike[str], private_key: str | PathLike[str]
) -> ssl.SSLContext:
    """How clients speak TLS to relayd: TLS 1.2 or newer.

    Args:
        certificate: A PEM file, the chain from the leaf upwards.
        private_key: A PEM file, not encrypted.

    Raises:
        TlsFileError: A file cannot be used, or the two do not belong together.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, private_key, password=_no_password)
    except OSError as error:
        where = f"{certificate} with {private_key}"
        raise TlsFileError(f"{where}: {_file_trouble(error)}") from None
    return context


async def start_client(
    sock: socket.socket, context: ssl.SSLContext, server_hostname: str, *, deadline: float
) -> ssl.SSLSocket:
    """Start TLS towards an upstream, with its name or address verified.

    Args:
        sock: Connected and non-blocking. It is consumed: whatever happens, it is not to be used
            again, and unless a socket is returned it has been closed.
        context: From :func:`client_context`.
        server_hostname: The host of a parsed URL; a literal address without brackets.
        deadline: When to give up, by ``trio.current_time()``.

    Raises:
        TlsError: As :func:`handshake`.

    Cancelling this closes the socket.
    """
    with sock:
        try:
            _check_connected(sock)
            wrapped = context.wrap_socket(
                sock, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        except OSError as error:
            _fail(error, server_hostname)
    return await _shaken(wrapped, deadline)


async def start_server(
    sock: socket.socket, context: ssl.SSLContext, *, deadline: float
) -> ssl.SSLSocket:
    """Start TLS towards a client; otherwise as :func:`start_client`."""
    with sock:
        try:
            _check_connected(sock)
            wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            _fail(error, "the client")
    return await _shaken(wrapped, deadline)


def _check_connected(sock: socket.socket) -> None:
    """Raise ``OSError`` if the peer has reset the connection.

    ``wrap_socket`` would find it out too, but only when it already owns the descriptor, and then
    leaves it to the garbage collector.
    """
    sock.getpeername()


async def _shaken(sock: ssl.SSLSocket, deadline: float) -> ssl.SSLSocket:
    try:
        await handshake(sock, deadline)
    except BaseException:
        sock.close()
        raise
    return sock


async def handshake(sock: ssl.SSLSocket, deadline: float) -> None:
    """Shake hands on a non-blocking ``sock`` made with ``do_handshake_on_connect=False``.

    Args:
        sock: Stays open, whatever happens: the caller owns it. After an error or a cancel it is
            of no use but to be closed.
        deadline: When to give up, by ``trio.current_time()``.

    Raises:
        TlsError: ``CERTIFICATE_REFUSED``, ``CONNECT_TIMEOUT``, ``CONNECTION_LOST`` or
            ``TLS_FAILED``, with the remedy in its message where there is one.
    """
    peer = sock.server_hostname or "the client"
    with trio.move_on_at(deadline):
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(sock)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(sock)
            except OSError as error:
                _fail(error, peer)
            else:
                return
    message = f"the TLS handshake with {peer} did not end in time"
    raise TlsError(DialErrorKind.CONNECT_TIMEOUT, message)


def _context(protocol: int) -> ssl.SSLContext:
    """What both sides have in common.

    The context is not ``ssl.create_default_context``'s, which writes every session's secrets
    into a file when the environment names one.
    """
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(list(ALPN))
    return context


def _no_password() -> NoReturn:
    """Called for an encrypted key. Without it OpenSSL asks on the terminal and waits for ever."""
    raise TlsFileError("the private key is encrypted; relayd needs one without a passphrase")


def _file_trouble(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no usable PEM file ({_openssl_words(error)})"
    return describe(error.errno or 0)


def _fail(error: OSError, peer: str) -> NoReturn:
    """Translate what a handshake raises, from the particular to the general."""
    match error:
        case ssl.SSLCertVerificationError():
            kind, message = DialErrorKind.CERTIFICATE_REFUSED, _verification(error, peer)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            kind = DialErrorKind.CONNECTION_LOST
            message = f"{peer} closed the connection during the TLS handshake"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST"):
            kind = DialErrorKind.TLS_FAILED
            message = f"{peer} does not speak TLS on this port; is http or ws meant in the URL?"
        case ssl.SSLError():
            kind = DialErrorKind.TLS_FAILED
            message = f"the TLS handshake with {peer} failed: {_openssl_words(error)}"
        case OSError():
            kind = DialErrorKind.CONNECTION_LOST
            message = f"{peer} was lost in the TLS handshake: {describe(error.errno or 0)}"
    raise TlsError(kind, message) from None


def _verification(error: ssl.SSLCertVerificationError, peer: str) -> str:
    message = f"certificate verify failed for {peer}: {error.verify_message}"
    if error.verify_code in _UNTRUSTED:
        return f"{message}; if a private authority signed it, name its PEM file in tls_ca"
    if error.verify_code in _WRONG_NAME:
        return f"{message}; base_url has to use a name that the certificate holds"
    return message


def _openssl_words(error: ssl.SSLError) -> str:
    """OpenSSL's reason, such as ``TLSV1_ALERT_UNKNOWN_CA``, as words."""
    return (error.reason or "unknown reason").replace("_", " ").lower()
