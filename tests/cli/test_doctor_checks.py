"""One account, step by step, against scripted upstreams."""

from __future__ import annotations

import email.utils
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import attrs
import pytest
import trio
import trustme

from relayd.cli.doctor_checks import Examination, Examiner, Finding, Result, Step
from relayd.config.accounts import Timeouts
from relayd.config.proxy import parse_proxy
from relayd.config.secret import Secret
from relayd.config.snapshot import Account
from relayd.config.url import parse_base_url
from relayd.transport.resolve import Address, Resolver
from tests.faults.wire import CLOSE, TEXT, Wire, accepting, close, frame

NOW = 1_800_000_000.0
KEY = "canary-of-upstream"
CREATED = frame(TEXT, b'{"type":"session.created"}', masked=False)
WRONG_KEY = (
    b'{"type":"error","error":{"code":"invalid_api_key","message":"no such key sk-abcdefgh1"}}'
)
TIMEOUTS = Timeouts(connect_s=1.0, first_frame_s=0.2)

Play = Callable[[Wire, bytes], Awaitable[None]]


def at(wall: float) -> bytes:
    """An answer to HEAD that says what time it is."""
    return f"HTTP/1.1 404 No\r\nDate: {email.utils.formatdate(wall, usegmt=True)}\r\n\r\n".encode()


@attrs.define(eq=False)
class Upstream:
    """Answers HEAD with ``head``, and plays ``play`` to whoever upgrades.

    Attributes:
        greeting: Sent before anything is heard.
    """

    sock: trio.socket.SocketType
    head: bytes = at(NOW)
    greeting: bytes = b""
    play: Play | None = None
    context: ssl.SSLContext | None = None
    heads: list[bytes] = attrs.field(factory=list)

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    async def run(self) -> None:
        while True:
            sock, _ = await self.sock.accept()
            wire = Wire(sock, is_client=False)
            try:
                await wire.send(self.greeting)
                if self.context is not None:
                    await wire.start_tls(self.context)
                head = await wire.head()
            except Exception:  # noqa: BLE001 - what a client does here is judged at its own end
                wire.close()
                continue
            self.heads.append(head)
            if head.startswith(b"HEAD "):
                await wire.send(self.head)
            else:
                await (self.play or created)(wire, head)
            wire.close()


async def created(wire: Wire, head: bytes) -> None:
    await wire.send(accepting(head) + CREATED)
    await wire.end()


async def nothing(wire: Wire, head: bytes) -> None:
    await wire.send(accepting(head))
    await wire.end()


def answering(text: bytes) -> Play:
    async def play(wire: Wire, head: bytes) -> None:
        await wire.send(text)

    return play


async def wrong_key(wire: Wire, head: bytes) -> None:
    await wire.send(accepting(head) + frame(TEXT, WRONG_KEY, masked=False) + close(4000))


@attrs.define(eq=False)
class Clinic:
    """Examines accounts at ``upstream``."""

    upstream: Upstream
    nursery: trio.Nursery
    looked_up: list[str] = attrs.field(factory=list)
    addresses: Sequence[str] = ("127.0.0.1",)

    def account(self, **options: object) -> Account:
        given: dict[str, object] = {
            "name": "main",
            "provider": "compatible",
            "base_url": parse_base_url(f"http://127.0.0.1:{self.upstream.port}/v1"),
            "api_key": Secret(KEY),
            "timeouts": TIMEOUTS,
        }
        return Account(**(given | options))  # type: ignore[arg-type]  # passed on as given

    async def examine(self, **options: object) -> dict[Step, Finding]:
        """The findings by step."""
        found = await self.examination(**options)
        assert [finding.step for finding in found.findings] == list(Step)
        return {finding.step: finding for finding in found.findings}

    async def examination(self, **options: object) -> Examination:
        resolver = Resolver(self.nursery, lookup=self._look_up)
        found = await Examiner(self.account(**options), resolver, lambda: NOW).run()
        assert KEY not in repr(found)
        return found

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        self.looked_up.append(host)
        if not self.addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [Address(socket.AF_INET, (each, port)) for each in self.addresses]


@pytest.fixture
async def clinic() -> AsyncIterator[Clinic]:
    sock = trio.socket.socket()
    await sock.bind(("127.0.0.1", 0))
    sock.listen(16)
    upstream = Upstream(sock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.run)
        yield Clinic(upstream, nursery)
        nursery.cancel_scope.cancel()
    sock.close()


def results(findings: dict[Step, Finding]) -> str:
    """Every step's result, by its first letter: ok, warned, failed, skipped."""
    return "".join(finding.result[0] for finding in findings.values())


async def test_an_account_that_works(clinic: Clinic) -> None:
    found = await clinic.examination()

    findings = {finding.step: finding for finding in found.findings}
    assert results(findings) == "sosooo"
    assert found.ok
    assert found.address == f"http://127.0.0.1:{clinic.upstream.port}/v1"
    assert findings[Step.NAME].message == "127.0.0.1 is an address"
    assert findings[Step.CLOCK].message == "agrees with the upstream's"
    assert findings[Step.KEY].message == "accepted"
    timed = (Step.DIAL, Step.KEY, Step.FIRST_FRAME)
    assert [step for step in Step if findings[step].duration_ms is not None] == list(timed)
    asked, upgraded = clinic.upstream.heads
    assert asked.startswith(b"HEAD /v1 HTTP/1.1\r\n")
    assert KEY.encode() not in asked, "the clock is asked without the key"
    assert b"GET /v1/realtime?intent=transcription HTTP/1.1\r\n" in upgraded
    assert f"Authorization: Bearer {KEY}".encode() in upgraded


async def test_passthrough_waits_for_no_frame(clinic: Clinic) -> None:
    clinic.upstream.play = nothing

    findings = await clinic.examine(provider="websocket", api_key=None)

    assert results(findings) == "sosoos"
    assert findings[Step.KEY].message == "none is configured"
    assert findings[Step.FIRST_FRAME].message == "this dialect waits for none"


# -- the name


async def test_a_name_is_resolved_and_its_addresses_are_shown(clinic: Clinic) -> None:
    clinic.addresses = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
    url = parse_base_url(f"http://upstream.test:{clinic.upstream.port}/v1")

    findings = await clinic.examine(base_url=url, allow_private=True)

    assert results(findings) == "oosooo"
    assert findings[Step.NAME].message == "127.0.0.1, 127.0.0.2, 127.0.0.3 and 1 more"
    assert clinic.looked_up == ["upstream.test"], "once for both connections"


async def test_a_name_that_is_not_known(clinic: Clinic) -> None:
    clinic.addresses = ()

    findings = await clinic.examine(base_url=parse_base_url("http://typo.test/v1"))

    assert results(findings) == "fsssss"
    assert "typo.test could not be resolved" in findings[Step.NAME].message
    assert "spelling" in (findings[Step.NAME].remedy or "")
    assert findings[Step.KEY].message == "not tried"


async def test_a_name_that_leads_inwards_is_not_dialled(clinic: Clinic) -> None:
    url = parse_base_url(f"http://upstream.test:{clinic.upstream.port}/v1")

    findings = await clinic.examine(base_url=url)

    assert results(findings) == "ofssss"
    assert "leads to a loopback address" in findings[Step.DIAL].message
    assert "accounts.allow_private = true" in (findings[Step.DIAL].remedy or "")
    assert clinic.upstream.heads == []


async def test_a_proxy_that_resolves_names_leaves_nothing_to_look_up(clinic: Clinic) -> None:
    clinic.upstream.greeting = b"SSH-2.0-OpenSSH_9.2\r\n"
    proxy = parse_proxy(f"socks5h://canary-user:canary-password@127.0.0.1:{clinic.upstream.port}")

    found = await clinic.examination(proxy=proxy, base_url=parse_base_url("http://far.test/v1"))

    findings = {finding.step: finding for finding in found.findings}
    assert "no SOCKS5" in findings[Step.DIAL].message
    assert findings[Step.NAME].message == "the account's proxy resolves it"
    assert findings[Step.DIAL].result is Result.FAILED
    assert "canary" not in repr(found)


# -- dialling


async def test_a_port_that_is_closed(clinic: Clinic) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = parse_base_url(f"http://127.0.0.1:{closed.getsockname()[1]}/v1")

        findings = await clinic.examine(base_url=url)

    assert results(findings) == "sfssss"
    assert "connection refused" in findings[Step.DIAL].message
    assert findings[Step.DIAL].remedy == "nothing listens there: check the port in base_url"


# -- TLS


@pytest.fixture
def authority(clinic: Clinic) -> trustme.CA:
    """What the upstream's certificate is signed by."""
    made = trustme.CA()
    clinic.upstream.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.issue_cert("127.0.0.1").configure_cert(clinic.upstream.context)
    return made


async def test_tls_tells_its_version_and_when_the_certificate_expires(
    clinic: Clinic, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    url = parse_base_url(f"https://127.0.0.1:{clinic.upstream.port}/v1")
    for days, result in ((100, "o"), (13, "w")):
        expiry = NOW + days * 86_400
        monkeypatch.setattr("relayd.cli.doctor_checks._expiry", lambda sock, at=expiry: at)

        findings = await clinic.examine(base_url=url, tls_ca=str(ca))

        assert results(findings) == f"so{result}ooo"
        assert findings[Step.TLS].message == f"TLSv1.3, the certificate expires in {days} days"
        assert findings[Step.TLS].duration_ms is not None


async def test_a_certificate_s_own_expiry_is_read(
    clinic: Clinic, authority: trustme.CA, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    url = parse_base_url(f"https://127.0.0.1:{clinic.upstream.port}/v1")

    findings = await clinic.examine(base_url=url, tls_ca=str(ca))

    assert findings[Step.TLS].result is Result.OK
    days = int(findings[Step.TLS].message.split()[-2].replace(",", ""))
    assert days > 365


async def test_a_certificate_that_nobody_trusts(clinic: Clinic, authority: trustme.CA) -> None:
    url = parse_base_url(f"https://127.0.0.1:{clinic.upstream.port}/v1")

    findings = await clinic.examine(base_url=url)

    assert results(findings) == "sofsss"
    assert "tls_ca" in findings[Step.TLS].message


async def test_plain_http_where_tls_was_meant(clinic: Clinic) -> None:
    clinic.upstream.greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    url = parse_base_url(f"https://127.0.0.1:{clinic.upstream.port}/v1")

    findings = await clinic.examine(base_url=url)

    assert results(findings) == "sofsss"
    assert "is http or ws meant in the URL?" in findings[Step.TLS].message


async def test_authorities_that_cannot_be_read(clinic: Clinic, tmp_path: Path) -> None:
    url = parse_base_url(f"https://127.0.0.1:{clinic.upstream.port}/v1")

    findings = await clinic.examine(base_url=url, tls_ca=str(tmp_path / "gone.pem"))

    assert results(findings) == "ssfsss"
    assert "gone.pem" in findings[Step.TLS].message


# -- the clock


@pytest.mark.parametrize(
    ("said", "result", "message"),
    [
        (NOW - 1, "o", "agrees with the upstream's"),
        (NOW - 20, "o", "20 s ahead of the upstream's"),
        (NOW + 20, "o", "20 s behind the upstream's"),
        (NOW + 3600, "f", "3,600 s behind the upstream's"),
        (NOW - 31, "f", "31 s ahead of the upstream's"),
    ],
)
async def test_the_clock_is_compared(
    clinic: Clinic, said: float, result: str, message: str
) -> None:
    clinic.upstream.head = at(said)

    findings = await clinic.examine()

    assert results(findings) == f"sos{result}oo"
    assert findings[Step.CLOCK].message == message
    assert (findings[Step.CLOCK].remedy is not None) is (result == "f")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: yesterday\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: Mon, 99 Jan 2026 00:00:00 GMT\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"\x00\xff\r\n\r\n",
    ],
)
async def test_an_upstream_that_does_not_tell_the_time_is_no_trouble(
    clinic: Clinic, head: bytes
) -> None:
    clinic.upstream.head = head

    findings = await clinic.examine()

    assert results(findings) == "sossoo"


# -- the key, and the first frame


@pytest.mark.parametrize(
    ("play", "expected", "code", "remedy"),
    [
        (wrong_key, "sosofs", "invalid_api_key", "replace accounts.api_key"),
        (
            answering(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
            *("sosofs", "http_401", "replace accounts.api_key"),
        ),
        (
            answering(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
            *("sosofs", "http_404", "check the path in base_url"),
        ),
        (
            answering(b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"),
            *("sosows", "http_429", "the key works, but is used up just now"),
        ),
        (
            answering(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
            *("sosofs", "http_503", "status page"),
        ),
        (answering(b"SSH-2.0\r\n\r\n"), "sosofs", "malformed_response", "status page"),
        (answering(b""), "sosofs", "malformed_response", "status page"),
    ],
)
async def test_a_key_that_does_not_open(
    clinic: Clinic, play: Play, expected: str, code: str, remedy: str
) -> None:
    clinic.upstream.play = play

    found = await clinic.examination()

    findings = {finding.step: finding for finding in found.findings}
    assert results(findings) == expected
    assert findings[Step.KEY].message.startswith(f"{code}: ")
    assert remedy in (findings[Step.KEY].remedy or "")
    assert "sk-abcdefgh1" not in repr(found), "an upstream may quote a key"
    assert found.ok is ("f" not in expected)


async def test_an_upstream_that_says_nothing_first(clinic: Clinic) -> None:
    clinic.upstream.play = nothing

    findings = await clinic.examine()

    assert results(findings) == "sosoof"
    assert findings[Step.FIRST_FRAME].message.startswith("first_frame_timeout: ")
    assert "first_frame_s" in (findings[Step.FIRST_FRAME].remedy or "")


async def test_a_close_before_any_frame(clinic: Clinic) -> None:
    async def leave(wire: Wire, head: bytes) -> None:
        await wire.send(accepting(head) + frame(CLOSE, masked=False))

    clinic.upstream.play = leave

    findings = await clinic.examine()

    assert findings[Step.KEY].message.startswith("closed_early: ")
