"""The page about live events says what is true: its programs run, its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from relayd.config.hub import HubSettings
from relayd.dialect.hub_codes import CLOSES, HubClose
from relayd.observe.events import LogEvent
from tests.integration.client_environments import ClientEnvironment
from tests.integration.hub_node import modules
from tests.integration.pages import Block, Use, blocks_of, is_as_shown, table_below
from tests.integration.stage import INTERPRETERS, Interpreter, Stage
from tests.integration.test_documents import ETC, PLAIN, SERVE, assert_console_is_as_shown
from tests.integration.test_other_clients import node

HUB: Final = "hub.md"
PROGRAMS: Final = [block for block in blocks_of(HUB) if block.use is Use.RUN]
ADDITIONS: Final = [block.text for block in blocks_of(HUB) if block.use is Use.ADD]
CONFIG: Final = "\n".join([(ETC / "relayd.toml").read_text(), *ADDITIONS])
CODE: Final = re.compile(r"\d{4}")


async def interpreter_of(block: Block, directory: Path) -> Interpreter:
    """What runs a program; skips the test where that is not installed."""
    if block.language == "js":
        found = node()
        packages = await trio.to_thread.run_sync(modules)
        (directory / "node_modules").symlink_to(packages)
        return lambda path: [found, path.rename(path.with_suffix(".mjs"))]
    if "from centrifuge" in block.text:
        python = await trio.to_thread.run_sync(ClientEnvironment("hub").python)
        return lambda path: [python, path]
    return INTERPRETERS[block.language]


@pytest.mark.slow
@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.name)
async def test_a_client_does_what_the_page_shows(
    block: Block, tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage = Stage(tmp_path, {PLAIN: "127.0.0.1:0"})
    stage.write("etc/relayd.toml", CONFIG)
    stage.write("etc/prices.toml", (ETC / "prices.toml").read_text())
    relayd = await stage.serve(SERVE, nursery)
    stage.places = {PLAIN: relayd.address}

    if block.language == "console":
        await assert_console_is_as_shown(block, stage)
    else:
        assert block.output is not None, "the page does not say what it prints"
        printed = await stage.run(block.text, await interpreter_of(block, tmp_path))
        assert is_as_shown(printed, block.output), printed
    assert relayd.of(LogEvent.SESSION_CRASHED) == []


def test_every_close_code_is_explained() -> None:
    rows = table_below(HUB, "## Close codes")
    explained = {int(code) for codes, *_ in rows for code in CODE.findall(codes)}

    sent = {close.code for close in CLOSES.values() if close.code is not None} | set(HubClose)
    assert explained == sent | {1006}


def test_the_limits_shown_are_the_defaults() -> None:
    shown = "\n".join(" ".join(row) for row in table_below(HUB, "## Limits"))
    named = set(re.findall(r"`((?:queue|history)_\w+)`", shown))

    hub = HubSettings()
    fields = {field.name for field in attrs.fields(HubSettings)}
    assert named == {name for name in fields if not name.startswith("jwt_")}
    assert f"{hub.queue_count:,} events and {hub.queue_bytes >> 20} MiB" in shown
    assert f"{hub.history_max_bytes >> 20} MiB" in shown
    minutes = f"{hub.history_s / 60:.0f} minutes"
    assert f"{hub.history_count:,} events, {hub.history_bytes >> 20} MiB, {minutes}" in shown
