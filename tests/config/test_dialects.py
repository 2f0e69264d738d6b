"""The settings that a single dialect has."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from relayd.config.dialects import DialectSettings, ResponsesSettings
from relayd.config.files import Surroundings
from relayd.config.load import settings_of
from relayd.config.parse import parse_toml


def read(text: str) -> tuple[DialectSettings, list[str]]:
    document = parse_toml(text.encode())
    assert isinstance(document, dict)
    settings, mistakes = settings_of(document, Surroundings(environ={}, directory=Path()))
    return settings.dialects, [mistake.path for mistake in mistakes]


def test_the_times_of_a_turn_that_nobody_sets() -> None:
    assert attrs.asdict(ResponsesSettings()) == {
        "keepalive_s": 12.0,
        "first_event_s": 90.0,
        "idle_s": 900.0,
        "total_s": 3600.0,
    }


def test_a_table_sets_what_it_names_and_leaves_the_rest() -> None:
    settings, mistakes = read("[dialects.responses]\nkeepalive_s = 5\n")

    assert mistakes == []
    assert settings.responses == ResponsesSettings(keepalive_s=5.0)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[dialects.responses]\nkeepalive_s = 0\n", "dialects.responses.keepalive_s"),
        ("[dialects.responses]\nlanes = 3\n", "dialects.responses.lanes"),
        ("[dialects.nonsense]\n", "dialects.nonsense"),
    ],
)
def test_what_means_nothing_is_told_with_its_path(text: str, path: str) -> None:
    assert read(text)[1] == [path]
