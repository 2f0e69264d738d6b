"""The settings of pools."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from relayd.config.about import about_of
from relayd.config.files import Surroundings
from relayd.config.pools import PoolSettings
from relayd.config.structure import TableReader

AROUND = Surroundings(environ={}, directory=Path("/nonexistent"))


def read(raw: dict[str, object]) -> tuple[PoolSettings, dict[str, str]]:
    """The table of ``raw``, and the mistakes in it by path."""
    reader = TableReader(AROUND, tables=(PoolSettings,))
    value = reader.table(PoolSettings, raw, "pool")
    return value, {mistake.path: mistake.message for mistake in reader.mistakes}


def test_the_pool_s_defaults() -> None:
    assert attrs.asdict(PoolSettings()) == {
        "connect_s": 10.0,
        "acquire_s": 12.0,
        "slots_max": 128,
        "idle_max": 12,
        "idle_ttl_s": 600.0,
        "age_max_s": 3300.0,
        "ping_after_s": 5.0,
        "ping_every_s": 30.0,
        "ping_timeout_s": 5.0,
        "prewarm": 0,
        "preflight_idle_s": 20.0,
        "preflight_timeout_s": 2.0,
    }


def test_the_table_is_read_by_the_rules_of_its_fields() -> None:
    value, mistakes = read({"slots_max": 2, "idle_max": 0, "ping_after_s": 3})

    assert not mistakes
    assert (value.slots_max, value.idle_max, value.ping_after_s) == (2, 0, 3.0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("slots_max", 0, "at least 1"),
        ("slots_max", 100_001, "at most 100000"),
        ("idle_max", -1, "at least 0"),
        ("prewarm", True, "an integer"),
        ("age_max_s", 0, "above 0"),
        ("ping_timeout_s", "5", "a number of seconds"),
        ("ping_after", 5, "unknown setting"),
    ],
)
def test_a_mistake_is_reported_where_it_is(name: str, value: object, message: str) -> None:
    _, mistakes = read({name: value})

    assert list(mistakes) == [f"pool.{name}"]
    assert message in mistakes[f"pool.{name}"]


def test_every_setting_says_what_it_means() -> None:
    for field in attrs.fields(PoolSettings):
        assert about_of(field).meaning.endswith(".")
