"""The pages for people say what is true: their programs run, their tables are complete."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import stat
from pathlib import Path

import attrs
import pytest
import trio
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from relayd.core.endings import ENDINGS, ENDINGS_BY_UPSTREAM, Ending, Reason
from relayd.core.refusals import STATUS
from relayd.observe.events import LogEvent
from relayd.service.http import refusals
from tests.integration.client_environments import AGENTS
from tests.integration.conftest import Relayd
from tests.integration.pages import (
    DOCS,
    Block,
    Command,
    Use,
    blocks_of,
    commands_of,
    headings_of,
    is_as_shown,
    table_below,
)
from tests.integration.stage import INTERPRETERS, Interpreter, Printed, ProgramFailed, Stage
from tests.integration.test_other_clients import node

CONNECTING = "connecting.md"
OPERATING = "operating.md"
HUB = "hub.md"
PAGES = (CONNECTING, OPERATING, HUB)
PAGE_LINES_MAX = 560

ETC = DOCS.parent / "etc"
PLAIN = "127.0.0.1:8765"
SECURE = "localhost:8443"
RECONNECTING = "reconnecting"

TLS = """
[server.tls]
certificate = "relay.pem"
private_key = "relay.pem"
"""

HTTP_FAULTS = (
    refusals.BODY_TIMEOUT,
    refusals.EXPECTATION_FAILED,
    refusals.body_too_large(1),
)

_WORD = re.compile(r"`([a-z0-9_]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


# -- what needs no program to be run


@pytest.mark.parametrize("page", PAGES)
def test_a_page_stays_readable(page: str) -> None:
    assert len((DOCS / page).read_text().splitlines()) < PAGE_LINES_MAX


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = _LINK.findall((DOCS / page).read_text())

    assert [each for each in targets if not is_there(page, each)] == []


def is_there(page: str, target: str) -> bool:
    path, _, anchor = target.partition("#")
    if path.startswith("https:"):
        return True
    if not (DOCS / path).exists():
        return False
    return not anchor or anchor in map(anchor_of, headings_of(path or page))


def anchor_of(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_refusal_is_explained_with_its_status() -> None:
    codes = {str(code): str(status) for code, status in STATUS.items()}
    codes |= {fault.code: str(fault.status) for fault in HTTP_FAULTS}

    rows = table_below(CONNECTING, "## What a refusal means")
    explained = [(word, status) for status, words, *_ in rows for word in _WORD.findall(words)]

    assert sorted(explained) == sorted(codes.items())


def test_every_ending_is_explained_with_its_close_code() -> None:
    rows = table_below(CONNECTING, "## What a close code means")
    explained = [(word, code) for code, words, *_ in rows for word in _WORD.findall(words)]

    assert sorted(explained) == sorted((reason.value, code_of(reason)) for reason in Reason)


def code_of(reason: Reason) -> str:
    """What a client sees of an ending, as the page writes it."""
    if reason is Reason.UPSTREAM_CLOSED:
        return "passed on"
    by_upstream = ENDINGS_BY_UPSTREAM.get(reason)
    other = f" ({shown_code(by_upstream)})" if by_upstream else ""
    return f"{shown_code(ENDINGS[reason])}{other}"


def shown_code(ending: Ending) -> str:
    if ending.abort_client:
        return "reset"
    return "–" if ending.client_code is None else str(ending.client_code)


# -- connecting.md

ADDITIONS = [block.text for block in blocks_of(CONNECTING) if block.use is Use.ADD]
CONFIG = "\n".join([(ETC / "relayd.toml").read_text(), *ADDITIONS])
SERVE = "relayd serve --config etc/relayd.toml"
PROGRAMS = [block for block in blocks_of(CONNECTING) if block.use is Use.RUN]
CLIENTS = [block for block in PROGRAMS if block.name != RECONNECTING]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A directory with the configuration that the page is about, and a private authority."""
    stage = Stage(tmp_path, {PLAIN: "127.0.0.1:0"})
    stage.write("etc/relayd.toml", CONFIG)
    stage.write("etc/prices.toml", (ETC / "prices.toml").read_text())
    return stage


def secure(stage: Stage) -> None:
    """Let relayd speak TLS, with a certificate of an authority of its own."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(stage.directory / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(stage.directory / "etc" / "relay.pem")
    stage.write("etc/relayd.toml", TLS, end=True)


async def interpreter_of(block: Block) -> Interpreter:
    """What runs a program; skips the test where that is not installed."""
    if block.language == "js":
        flags = ("--experimental-websocket", "--no-warnings")
        found = node()
        return lambda path: [found, *flags, path]
    if "from agents" in block.text:
        python = await trio.to_thread.run_sync(AGENTS.ensure)
        return lambda path: [python, path]
    return INTERPRETERS[block.language]


@pytest.mark.slow
@pytest.mark.parametrize("block", CLIENTS, ids=lambda block: block.name)
async def test_a_client_does_what_the_page_shows(
    block: Block, stage: Stage, nursery: trio.Nursery
) -> None:
    if SECURE in block.text:
        secure(stage)
    relayd = await stage.serve(SERVE, nursery)
    stage.places = {PLAIN: relayd.address, SECURE: relayd.address.replace("127.0.0.1", "localhost")}

    if block.language == "console":
        await assert_console_is_as_shown(block, stage)
    else:
        assert block.output is not None, "the page does not say what it prints"
        printed = await stage.run(block.text, await interpreter_of(block))
        assert is_as_shown(printed, block.output), printed
    assert relayd.of(LogEvent.SESSION_CRASHED) == []


async def assert_console_is_as_shown(block: Block, stage: Stage) -> list[Printed]:
    played = await stage.play(block.text)
    for printed in played:
        assert is_as_shown(printed.output, printed.command.output), printed
    return played


@pytest.mark.slow
async def test_a_client_connects_again_as_the_page_shows(
    stage: Stage, nursery: trio.Nursery
) -> None:
    (block,) = (block for block in PROGRAMS if block.name == RECONNECTING)
    old = await stage.serve(SERVE, nursery)
    stage.write("etc/relayd.toml", CONFIG.replace(PLAIN, old.address))
    stage.places = {PLAIN: old.address}
    client = await stage.start(block.text, INTERPRETERS["python"], nursery)

    await client.until(lambda printed: printed.count("connected") == 1)
    old.process.send_signal(signal.SIGTERM)
    await old.logged(LogEvent.SERVER_STOPPED)
    await stage.serve(SERVE, nursery)
    await client.until(lambda printed: printed.count("connected") == 2)

    assert is_as_shown(client.printed, block.output or ""), client.printed


# -- operating.md

OPERATORS = blocks_of(OPERATING)
SQLITE = shutil.which("sqlite3")
HAPROXY = shutil.which("haproxy")
HAPROXY_CONFIG = "haproxy.cfg"
KEY_SHOWN = "rk_…"
DIGEST_SHOWN = "sha256:…"
SESSION_SHOWN = "sess_…"
PROXIED = """[server]
proxy_protocol = true
trusted_proxies = ["127.0.0.1"]
"""

THROUGH_HAPROXY = """\
curl -s --max-time 20 --cacert ca.pem --interface 127.0.0.2 -o /dev/null -w '%{{http_code}}' \\
  -H 'x-api-key: relayd-dev-key' https://localhost:{port}/v1/models
"""


def test_every_alert_that_is_explained_exists() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (ETC / "alerts.yml").read_text()))
    explained = [
        each.removeprefix("Alert: ") for each in headings_of(OPERATING) if "Alert:" in each
    ]

    assert sorted(explained) == sorted(alerts)


@pytest.fixture
def host(tmp_path: Path) -> Stage:
    """A clean directory that stands for a host's file system."""
    stage = Stage(tmp_path, {PLAIN: "127.0.0.1:0"})
    for folder in ("/etc/relayd", "/etc/haproxy", "/run/relayd", "/var/lib/relayd", "/var/backups"):
        stage.places[folder] = str(tmp_path / folder[1:])
        (tmp_path / folder[1:]).mkdir(parents=True)
    (tmp_path / "etc/relayd/secrets").mkdir()
    stage.write("/etc/relayd/prices.toml", (ETC / "prices.toml").read_text())
    stage.environ["RELAYD_CONFIG"] = stage.real("/etc/relayd/relayd.toml")
    stage.environ["OPENAI_API_KEY"] = "not-a-key-of-openai"
    stage.environ["NEW_OPENAI_API_KEY"] = "nor-is-this-one"
    return stage


def mode_of(host: Stage, path: str) -> int:
    """Who may do what with a file of the page."""
    return stat.S_IMODE(Path(host.real(path)).stat().st_mode)


@attrs.define
class Operator:
    """Somebody who does what the page says, from its top to its end.

    Attributes:
        nursery: What runs until the end of the test.
        relayd: Once it has been started.
    """

    stage: Stage
    nursery: trio.Nursery
    relayd: Relayd | None = None

    async def follow(self, block: Block) -> None:
        """Do one thing."""
        match block.use:
            case Use.FILE:
                self.stage.write(block.name, block.text)
            case Use.ADD:
                self.stage.write(block.name, block.text, end=True)
            case Use.RUN if block.language == "console":
                await self._prepare(block.name)
                printed = await assert_console_is_as_shown(block, self.stage)
                self._copy(block.name, printed[0].output)
            case Use.RUN:
                await self.stage.run(block.text, INTERPRETERS[block.language])

    def _copy(self, name: str, printed: str) -> None:
        """Take what is to be copied from one place into others."""
        if name == "key":
            self.stage.places |= {
                KEY_SHOWN: re.findall(r"rk_\w+", printed)[0],
                DIGEST_SHOWN: re.findall(r"sha256:\w+", printed)[0],
            }

    async def _prepare(self, name: str) -> None:
        """What the page leaves to others: to start a service, to be a client."""
        stage = self.stage
        match name:
            case "started":
                self.relayd = await stage.serve("relayd serve", self.nursery)
                stage.places[PLAIN] = self.relayd.address
            case "live":
                await self.nursery.start(self._converse)
                session = json.loads(await stage.run("relayd sessions --json", INTERPRETERS["sh"]))
                stage.places[SESSION_SHOWN] = session["session_id"]

    async def _converse(self, task_status: trio.TaskStatus[None]) -> None:
        """A client that hears one response, and stays until it is sent away."""
        headers = {"x-api-key": self.stage.real(KEY_SHOWN), "x-relayd-tag": "kitchen/timer"}
        url = self.stage.real(f"ws://{PLAIN}/v1/realtime?model=gpt-realtime")
        async with connect(url, additional_headers=headers) as socket:
            await socket.send('{"type": "response.create"}')
            while json.loads(await socket.recv())["type"] != "response.done":
                pass
            task_status.started()
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


@pytest.mark.slow
@pytest.mark.skipif(SQLITE is None, reason="there is no sqlite3")
async def test_an_operator_finds_all_that_is_needed(host: Stage, nursery: trio.Nursery) -> None:
    operator = Operator(host, nursery)
    for block in OPERATORS:
        if block.name != HAPROXY_CONFIG:
            await operator.follow(block)

    assert mode_of(host, "/etc/relayd/openai-key") == 0o600
    assert mode_of(host, "/etc/relayd/secrets/openai-key") == 0o640
    assert operator.relayd is not None
    assert await operator.relayd.process.wait() == 0
    assert operator.relayd.of(LogEvent.SESSION_CRASHED) == []


@pytest.mark.slow
@pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy")
async def test_the_haproxy_of_the_page_tells_who_the_client_is(
    host: Stage, nursery: trio.Nursery
) -> None:
    (config,) = (block for block in OPERATORS if block.name == HAPROXY_CONFIG)
    authority = trustme.CA()
    pem = authority.issue_cert("localhost").private_key_and_cert_chain_pem
    pem.write_to_path(host.real("/etc/haproxy/relay.pem"))
    authority.cert_pem.write_to_path(host.directory / "ca.pem")
    host.write("etc/relayd.toml", CONFIG.replace("[server]\n", PROXIED))
    relayd = await host.serve(SERVE, nursery)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host.places |= {
            PLAIN: relayd.address,
            "bind :443": f"bind fd@{listening.fileno()}",
            "inter 10s": "inter 2s",
        }
        path = host.write(HAPROXY_CONFIG, config.text)
        haproxy, sh = f"exec haproxy -db -f {path}", INTERPRETERS["sh"]
        await host.start(haproxy, sh, nursery, descriptors=[listening.fileno()])
        await relayd.logged(LogEvent.REQUEST_ENDED)  # what haproxy asks to see whether it lives
        asked = await host.run(THROUGH_HAPROXY.format(port=listening.getsockname()[1]), sh)

    assert asked == "200"
    await relayd.until(lambda: {200, 401} <= {line.get("status") for line in relayd.lines})
    lines = relayd.of(LogEvent.REQUEST_ENDED)
    assert [line["client_address"] for line in lines if line["key"] == "dev"] == ["127.0.0.2"]
    assert relayd.of(LogEvent.CONNECTION_REFUSED) == []


# -- what reads the pages


def test_a_command_goes_on_where_its_line_ends_in_a_backslash() -> None:
    commands = commands_of("$ one \\\n  two\nout\nput\n$ three\n$ four\nend \\\n$ five\n")

    assert commands == [
        Command("one \\\n  two\n", "out\nput\n"),
        Command("three\n", ""),
        Command("four\n", "end \\\n"),
        Command("five\n", ""),
    ]


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("ok\n", "ok\n", True),
        ("ok, then\n", "ok\n", False),
        ("id 12 ends\n", "id … ends\n", True),
        ("id 12 begins\n", "id … ends\n", False),
        ("one\ntwo\nthree\n", "one\n…\nthree\n", True),
        ("a.c", "a.c", True),
        ("abc", "a.c", False),
    ],
)
def test_an_ellipsis_stands_for_anything(printed: str, shown: str, same: bool) -> None:
    assert is_as_shown(printed, shown) is same


async def test_a_command_that_fails_is_no_success(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    with pytest.raises(ProgramFailed):
        await stage.play("$ false\n$ true\n")
    asked = await stage.play("$ sh -c 'exit 7'\n$ echo $?\n7\n")

    assert [printed.output for printed in asked] == ["", "7\n"]
