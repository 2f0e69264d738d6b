"""docs/xiaozhi.md says what is true: its programs run, its links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from relayd.config.load import load
from relayd.core.endings import ENDINGS, ENDINGS_BY_UPSTREAM
from relayd.core.refusals import STATUS
from relayd.observe.events import LogEvent
from tests.integration.conftest import Program, python_client
from tests.integration.pages import DOCS, Block, blocks_of, is_as_shown, table_below
from tests.integration.stage import INTERPRETERS, Stage
from tests.integration.test_documents import is_there
from tests.integration.xiaozhi_stage import CLIENT, MAC, answers

PAGE = "xiaozhi.md"
SERVE = "relayd serve --config etc/relayd.toml"
PLAIN = "127.0.0.1:8765"
ETC = DOCS.parent / "etc"
NEEDS_A_DEVICE = ("here", "over HTTP")
BLOCKS = blocks_of(PAGE)


def test_links_lead_somewhere() -> None:
    text = (DOCS / PAGE).read_text()
    targets = [each.partition(")")[0] for each in text.split("](")[1:]]

    assert [each for each in targets if not is_there(PAGE, each)] == []


def test_what_a_device_is_told_is_what_the_tables_say() -> None:
    codes = {(str(code), str(status)) for code, status in STATUS.items()}
    for endings in (ENDINGS, ENDINGS_BY_UPSTREAM):
        codes |= {(each.value, str(ending.client_code)) for each, ending in endings.items()}

    rows = table_below(PAGE, "## What a device is told")
    shown = {(word, code) for code, words, _ in rows for word in words.strip("`").split("`, `")}

    assert len(shown) > len(rows)
    assert shown - codes == set()


def test_the_account_of_the_operators_page_is_sound(tmp_path: Path) -> None:
    (block,) = (each for each in blocks_of("operating.md") if "[xiaozhi]" in each.text)
    for name in ("xiaozhi-secret", "kitchen-auth-key"):
        (tmp_path / name).write_text("0123456789abcdef" * 2)
    config = tmp_path / "relayd.toml"
    config.write_text(f'{block.text}\n[[keys]]\nname = "devices"\nsecret = "relayd-test-key"\n')

    (account,) = load(config, environ={}).accounts

    assert account.provider.has_devices


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
async def test_the_page_shows_what_happens(
    block: Block, tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage = Stage(tmp_path, {PLAIN: "127.0.0.1:0"})
    for name in ("relayd.toml", "prices.toml"):
        stage.write(f"etc/{name}", (ETC / name).read_text())
    relayd = await stage.serve(SERVE, nursery)
    stage.places = {PLAIN: relayd.address}
    if block.name in NEEDS_A_DEVICE:
        url = f"ws://{relayd.address}/xiaozhi/v1/"
        given = (url, MAC, CLIENT, "relayd-dev-key", 1, "write:hello", "attend:60")
        device = await Program.start(python_client("xiaozhi_desktop.py", *given), nursery)
        await device.until(lambda: bool(answers(device.lines)))

    if block.language == "console":
        for printed in await stage.play(block.text):
            assert is_as_shown(printed.output, printed.command.output), printed
    else:
        assert block.output is not None
        printed_text = await stage.run(block.text, INTERPRETERS[block.language])
        assert is_as_shown(printed_text, block.output), printed_text
    assert relayd.of(LogEvent.SESSION_CRASHED) == []
