"""The stage on which every fault is played."""

from __future__ import annotations

import functools
import io
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trustme

from relayd.config.schema import TlsSettings
from relayd.core.hold import HoldBudget
from relayd.observe import logs
from relayd.service import parts
from relayd.transport import tls
from tests.faults.harness import Log, Stage


@attrs.frozen
class Certificate:
    """A certificate for 127.0.0.1, as either side needs it."""

    settings: TlsSettings
    ca: str
    trusting: ssl.SSLContext
    showing: ssl.SSLContext


@pytest.fixture(scope="package")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One for all tests: making it takes longer than most of them."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    chain, key, ca = (folder / name for name in ("chain.pem", "key.pem", "ca.pem"))
    chain.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    showing = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.configure_cert(showing)
    settings = TlsSettings(certificate=str(chain), private_key=str(key))
    return Certificate(settings, str(ca), trusting, showing)


client_context = functools.cache(tls.client_context)
"""Reading the system's authorities takes longer than most of the tests here."""


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A log that is checked at the end, and a count of what every relayd held."""
    holds: list[HoldBudget] = []

    def counted(bytes_max: int) -> HoldBudget:
        holds.append(HoldBudget(bytes_max))
        return holds[-1]

    monkeypatch.setattr(parts, "HoldBudget", counted)
    monkeypatch.setattr(tls, "client_context", client_context)
    log = Log()
    logs.configure("json", "debug", log)
    made = Stage(tmp_path, log, holds)
    yield made
    for upstream in made.upstreams:
        upstream.close()
    logs.configure("json", "critical", io.BytesIO())
    log.check()
