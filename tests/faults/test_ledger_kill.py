"""A daemon that is killed under load, and started again over the same ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any

import attrs
import pytest

from relayd.core.money import nano_of
from relayd.ledger.database import Database, open_read_only
from relayd.ledger.report import By, summarize
from tests.faults.killed import KEYS

ROOT = Path(__file__).parents[2]
LIVES = 100
SEEDS = (20261121, 20261122)
PROGRAM_S_MAX = 300.0

CONFIG = """
[server]
listen = ["127.0.0.1:0"]
admin = "unix:{folder}/admin.sock"

[log]
level = "debug"

[ledger]
url = "sqlite:{folder}/relayd.db"
prices = "{root}/etc/prices.toml"

[[keys]]
name = "free"
secret = "{free}"

[[keys]]
name = "limited"
secret = "{limited}"
budget_usd = "1000"

[[accounts]]
name = "sim"
provider = "sim:realtime"
"""

TEXT_IN_NANO, CACHED_IN_NANO, TEXT_OUT_NANO = 4_000, 400, 16_000
"""What ``etc/prices.toml`` has for a token of ``gpt-realtime``."""

pytestmark = pytest.mark.slow


@attrs.frozen
class Aftermath:
    """What is there when all lives are over.

    Attributes:
        ledger: Its file.
        logged: The lines of turns that were written to the log.
    """

    ledger: Path
    logged: list[dict[str, Any]]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds in the ledger."""
        with closing(open_read_only(self.ledger)) as connection:
            return connection.execute(query, values).fetchall()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Aftermath]:
    """All kills, by the seed of their moments: those of one beside those of the other."""
    folders = [tmp_path_factory.mktemp("killed") for _ in SEEDS]
    with ThreadPoolExecutor(len(SEEDS)) as side_by_side:
        return dict(zip(SEEDS, side_by_side.map(kill, folders, SEEDS), strict=True))


@pytest.fixture(params=SEEDS)
def aftermath(request: pytest.FixtureRequest, killed: dict[int, Aftermath]) -> Aftermath:
    """Half of the kills."""
    return killed[request.param]


def kill(folder: Path, seed: int) -> Aftermath:
    """Let a daemon with its files in ``folder`` have all its lives."""
    free, limited = KEYS
    config = CONFIG.format(folder=folder, root=ROOT, free=free, limited=limited)
    (folder / "relayd.toml").write_text(config)
    program = [sys.executable, "-m", "tests.faults.killed"]
    ended = subprocess.run(
        [*program, str(folder), str(LIVES), str(seed)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S_MAX,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    logged = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in lines]
    return Aftermath(folder / "relayd.db", logged)


def test_every_turn_that_was_logged_is_in_the_ledger_once(aftermath: Aftermath) -> None:
    there = Counter(aftermath.rows("SELECT session_id, upstream_id FROM rows"))
    logged = Counter((line["session_id"], line["turn_id"]) for line in aftermath.logged)

    assert set(there.values()) == {1}
    assert logged - there == Counter()
    # That is worth something only if most daemons came to write before they were killed.
    assert len({session for session, _ in logged}) > LIVES / 2


def test_a_row_says_what_its_line_in_the_log_says(aftermath: Aftermath) -> None:
    query = 'SELECT session_id, upstream_id, "key", tokens_in, tokens_out, cost_nano FROM rows'
    there = {(session, turn): tuple(rest) for session, turn, *rest in aftermath.rows(query)}

    for line in aftermath.logged:
        tokens = line["tokens_in"] or 0, line["tokens_out"] or 0  # null where it was cut short
        told = line["key"], *tokens, nano_of(line["cost_usd"])
        assert there[line["session_id"], line["turn_id"]] == told


def test_the_ledger_adds_up(aftermath: Aftermath) -> None:
    cached = "tokens_in_cached_text"
    wrong = (
        "SELECT * FROM rows WHERE tokens_in <> tokens_in_text OR tokens_out <> tokens_out_text"
        f" OR cost_nano <> ? * (tokens_in - {cached}) + ? * {cached} + ? * tokens_out"
    )
    assert aftermath.rows(wrong, TEXT_IN_NANO, CACHED_IN_NANO, TEXT_OUT_NANO) == []
    assert aftermath.rows("PRAGMA integrity_check") == [("ok",)]
    with closing(open_read_only(aftermath.ledger)) as connection:
        lines = summarize(connection, since=0.0, until=inf, by=[By.KEY])
    with closing(Database.open(aftermath.ledger)) as database:
        spent = {(name,): database.spent(name, 0.0) for name in ("free", "limited")}
    assert {line.group: line.sums.cost_nano for line in lines} == spent
