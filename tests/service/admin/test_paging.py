"""Parameters, cursors and slices."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from relayd.service.admin.paging import (
    LOOKED_AT_PER_SLICE,
    SHOWN_PER_SLICE,
    Slices,
    after,
    limit_of,
)
from relayd.service.admin.shapes import LIMIT_DEFAULT, LIMIT_MAX
from relayd.service.http.refusals import HttpRefused
from tests.service.admin.stage import Stage, error_of


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("kee=dev", 'There is no parameter "kee"; did you mean "key"?.'),
        ("zzz=1", "known: key, account, dialect, limit, cursor"),
        ("key=a&key=b", "twice"),
        ("key=%ff", "UTF-8"),
        ("sk-abcdefghijklmnop=1", "[redacted]"),
        ("&".join(f"a{number}=1" for number in range(65)), "more than 64"),
    ],
)
async def test_a_parameter_that_is_not_known_is_refused(
    stage: Stage, query: str, message: str
) -> None:
    reply = await stage.ask("GET", f"/admin/v1/sessions?{query}")

    assert (reply.status, error_of(reply)["code"]) == (400, "invalid_parameter")
    assert message in error_of(reply)["message"]
    assert "abcdefghijklmnop" not in error_of(reply)["message"]


@given(st.text(max_size=6))
def test_a_limit_is_a_number_within_bounds_or_refused(text: str) -> None:
    try:
        assert 1 <= limit_of({"limit": text}) <= LIMIT_MAX
    except HttpRefused:
        assert not (text.isascii() and text.isdigit() and 1 <= int(text) <= LIMIT_MAX)


def test_a_limit_need_not_be_given() -> None:
    assert limit_of({}) == LIMIT_DEFAULT


async def test_what_follows_a_name() -> None:
    items = tuple("abc")

    assert await after(items, str, None) == items
    assert await after(items, str, "a") == ("b", "c")
    assert await after(items, str, "c") == ()
    with pytest.raises(HttpRefused):
        await after(items, str, "z")


async def test_other_tasks_run_after_so_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0

    async def checkpoint() -> None:
        nonlocal rounds
        rounds += 1

    monkeypatch.setattr(trio.lowlevel, "checkpoint", checkpoint)
    slices = Slices()
    for step, count in ((slices.shown, SHOWN_PER_SLICE), (slices.looked_at, LOOKED_AT_PER_SLICE)):
        rounds = 0
        for _ in range(count - 1):
            await step()
        assert rounds == 0
        await step()
        assert rounds == 1
