"""docs/providers.md says what is true: its provider is written, checked, registered and asked."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import get_args

import pytest
import trio

from relayd.config.accounts import AccountSettings
from relayd.config.providers import Provider
from relayd.config.secret import Secret
from relayd.dialect import behind
from relayd.observe.events import LogEvent
from relayd.session.chat import providers
from tests.faults import chat, conftest
from tests.faults.chat import DONE, Client, Json, request_of, take, wired
from tests.faults.harness import TIMEOUTS, UPSTREAM_KEY, Stage, Upstream
from tests.faults.wire import close
from tests.integration.pages import DOCS, blocks_of, table_below
from tests.integration.test_documents import PAGE_LINES_MAX, is_there

PAGE = "providers.md"
ROOT = DOCS.parent
MODEL = "parley-small"
PROVIDER, TESTS = "relayd/dialect/parley.py", "tests/dialect/test_parley.py"
BLOCKS = {block.name: block for block in blocks_of(PAGE)}
TOPS = (ROOT, ROOT / "relayd")
"""What the paths on the page begin at."""

CHECKS_S = 120.0

REGISTERED = """\
\"\"\"What registering the provider asks of its type.\"\"\"

from __future__ import annotations

from relayd.config.snapshot import Account
from relayd.dialect.behind import Provider
from relayd.dialect.parley import PARLEY

provider: Provider[Account] = PARLEY
"""

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:[a-z_]+/)+[a-z_]+\.py)`")

stage = conftest.stage


# -- the page


def test_the_page_stays_readable() -> None:
    assert len((DOCS / PAGE).read_text().splitlines()) < PAGE_LINES_MAX


def test_links_lead_somewhere() -> None:
    targets = _LINK.findall((DOCS / PAGE).read_text())

    assert [each for each in targets if not is_there(PAGE, each)] == []


def test_every_file_that_is_named_exists() -> None:
    named = set(_PATH.findall((DOCS / PAGE).read_text()))
    missing = {path for path in named if not any((top / path).exists() for top in TOPS)}

    assert missing == set()


def members_of(protocol: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(protocol) if not name.startswith("_")}


def test_every_hook_is_explained() -> None:
    explained = table_below(PAGE, "## The hooks")

    for protocol in (behind.Provider, behind.Exchange):
        hooks = {row[0].strip("`") for row in explained if row[1] == protocol.__name__}
        assert hooks == members_of(protocol)


def test_every_piece_is_explained() -> None:
    rows = table_below(PAGE, "`feed` returns pieces:")

    explained = {row[0].strip("`") for row in rows}
    assert explained == {piece.__name__ for piece in get_args(behind.Piece)}


def test_every_decision_of_a_fault_is_explained() -> None:
    rows = table_below(PAGE, "(`detail`), and two decisions:")
    explained = [(row[1].strip("`"), row[0].strip("`")) for row in rows]

    assert explained == [
        (kind.__name__, member.value) for kind in (behind.Retry, behind.Effect) for member in kind
    ]


# -- the provider of the page


def module_of(path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file of the page as the module that it would be in the tree."""
    name = path.removesuffix(".py").replace("/", ".")
    written = folder / Path(path).name
    written.write_text(BLOCKS[path].text, encoding="utf-8")
    spec = spec_from_file_location(name, written)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def parley(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's provider, registered in the place of one that the configuration knows."""
    module = module_of(PROVIDER, tmp_path, monkeypatch)
    registered = {**providers.PROVIDERS, Provider.RUNTASK: module.PARLEY}
    monkeypatch.setattr(providers, "PROVIDERS", MappingProxyType(registered))
    return module


def account(upstream: Upstream, name: str = "parley", priority: int = 0) -> AccountSettings:
    return AccountSettings(
        name=name,
        provider=Provider.RUNTASK,
        base_url=f"ws://127.0.0.1:{upstream.port}",
        api_key=Secret(UPSTREAM_KEY),
        models=(MODEL,),
        priority=priority,
        timeouts=TIMEOUTS,
    )


def transcript() -> list[tuple[str, Json]]:
    """Who says what, in the page's example."""
    lines = BLOCKS["transcript"].text.splitlines()
    return [(who, json.loads(said)) for who, _, said in (line.partition(" ") for line in lines)]


def said_by(speaker: str) -> list[Json]:
    return [said for who, said in transcript() if who == speaker]


@pytest.mark.usefixtures("parley")
async def test_the_conversation_goes_as_it_is_shown(stage: Stage) -> None:
    (asked,), (expected,) = said_by("client"), said_by("relayd")
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await Client.asking(relay, **asked, stream_options={"include_usage": True})
        far, request = await take(upstream)
        await far.send(wired(*said_by("parley")))
        events = await client.events()
        assert (await far.until_close()).close_code == 1000
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    head = bytes(far.seen).partition(b"\r\n\r\n")[0].decode()
    assert head.startswith("GET /v1/talk HTTP/1.1")
    assert f"Authorization: Bearer {UPSTREAM_KEY}" in head
    assert request == expected
    assert chat.text_of(events) == "Hello"
    assert chat.finishes_of(events) == ["stop"]
    assert events[-1] == DONE
    assert events[-2]["usage"]["total_tokens"] == 7
    assert client.headers["x-upstream-sid"] == "p-17"
    assert client.headers["x-relayd-ignored"] == "seed"
    assert line["model"] == MODEL


@pytest.mark.usefixtures("parley")
async def test_who_is_busy_is_passed_over(stage: Stage) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    accounts = (account(first, "one"), account(second, "two", priority=1))
    async with stage.relay(*accounts) as relay:
        client = await Client.asking(relay, model=MODEL)
        busy, _ = await take(first)
        await busy.send(wired({"error": "busy"}))
        far, _ = await take(second)
        await far.send(wired(*said_by("parley")))
        body = await client.json()

    assert client.status == 200
    assert body["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.usefixtures("parley")
@pytest.mark.parametrize(
    ("frames", "status", "code"),
    [
        ([{"error": "busy", "message": "later"}], 503, "overloaded"),
        ([{"id": "p-1"}, {"error": "bad_request"}], 400, "invalid_value"),
        ([{"error": "new"}], 502, "upstream_error"),
        ([b"\x81\x01{"], 502, "upstream_protocol_error"),
        ([{"id": "p-1"}, close(1000, masked=False)], 502, "upstream_truncated"),
    ],
)
async def test_what_comes_before_the_first_word_has_a_status_of_its_own(
    stage: Stage, frames: list[Json | bytes], status: int, code: str
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await Client.asking(relay, model=MODEL, stream=True)
        far, _ = await take(upstream)
        await far.send(wired(*frames))
        body = await client.json()

    assert client.status == status
    assert body["error"]["code"] == code
    assert client.headers.get("retry-after") == ("2" if code == "overloaded" else None)


@pytest.mark.usefixtures("parley")
async def test_an_answer_that_is_cut_is_no_success(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await Client.asking(relay, model=MODEL, stream=True)
        far, _ = await take(upstream)
        await far.send(wired({"text": "Hel"}, close(1000, masked=False)))
        events = await client.events()

    assert client.status == 200
    assert chat.finishes_of(events) == []
    assert events[-2]["error"]["code"] == "upstream_truncated"


@pytest.mark.usefixtures("parley")
async def test_a_client_that_leaves_stops_the_answer(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await Client.asking(relay, model=MODEL, stream=True)
        far, _ = await take(upstream)
        await far.send(wired({"text": "Hel"}))
        assert await client.head() == 200
        client.wire.close()
        with trio.fail_after(1.0):
            assert await request_of(far) == {"stop": True}
            assert (await far.until_close()).close_code == 1000
        await stage.log.wait(LogEvent.TURN_ENDED)


@pytest.mark.usefixtures("parley")
async def test_a_key_that_is_refused_is_not_the_client_s(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await Client.asking(relay, model=MODEL)
        far = await upstream.accept()
        await far.head()
        await far.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nbad key")
        body = await client.json()

    assert client.status == 502
    assert body["error"]["code"] == "upstream_auth_failed"
    assert "bad key" not in body["error"]["message"]


@pytest.mark.usefixtures("parley")
async def test_what_nobody_can_do_is_not_asked(stage: Stage) -> None:
    upstream = await stage.upstream()
    tool = {"type": "function", "function": {"name": "weather"}}
    async with stage.relay(account(upstream)) as relay:
        client = await Client.asking(relay, model=MODEL, tools=[tool], tool_choice="required")
        body = await client.json()

    assert client.status == 400
    assert body["error"]["param"] == "tool_choice"


# -- the files of the page, in a tree of their own


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """relayd's sources with the files of the page among them."""
    unneeded = shutil.ignore_patterns("__pycache__", "test_*")
    for folder in ("relayd", "tests/dialect"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=unneeded)
    for path in ("pyproject.toml", "tests/conftest.py"):
        shutil.copyfile(ROOT / path, tmp_path / path)
    for path in (PROVIDER, TESTS):
        (tmp_path / path).write_text(BLOCKS[path].text, encoding="utf-8")
    (tmp_path / "relayd/session/chat/registered.py").write_text(REGISTERED)
    return tmp_path


def check(tree: Path, *command: str) -> None:
    """Run a module of Python's in that tree; it has nothing to object."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=CHECKS_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_tests_of_the_page_pass(tree: Path) -> None:
    check(tree, "pytest", "-q", "-p", "no:cacheprovider", TESTS)


@pytest.mark.slow
def test_what_is_shown_is_as_strict_as_the_rest(tree: Path) -> None:
    check(tree, "ruff", "check", "--no-cache", PROVIDER, TESTS)
    check(tree, "ruff", "format", "--no-cache", "--check", PROVIDER, TESTS)
    check(tree, "mypy", "--no-incremental", PROVIDER, TESTS, "relayd/session/chat/registered.py")
