"""A throw-away authority for the TLS rows: an ECDSA certificate for 127.0.0.1."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


def make(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """The upstream's context, and the file of the authority that a relay is to trust.

    TLS 1.3 only, ``http/1.1`` by ALPN, and no tickets, so that no handshake resumes an older one.
    """
    authority = trustme.CA()
    trusted = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context, trusted
