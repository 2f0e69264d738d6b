"""A configuration as text, written to a file and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from relayd.config.load import ConfigError, Mistake, load
from relayd.config.schema import Settings

Load = Callable[..., Settings]
Mistakes = Callable[..., dict[str, str]]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load a configuration given as text, from ``relayd.toml`` in ``tmp_path``."""

    def load_text(text: str, environ: Mapping[str, str] | None = None) -> Settings:
        path = tmp_path / "relayd.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ=environ or {})

    return load_text


@pytest.fixture
def mistakes_in(load_text: Load) -> Mistakes:
    """The messages of a broken configuration by path; empty if it is sound."""

    def mistakes_in(text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        try:
            load_text(text, environ)
        except ConfigError as error:
            return _by_path(error.mistakes)
        return {}

    return mistakes_in


def _by_path(mistakes: tuple[Mistake, ...]) -> dict[str, str]:
    by_path = {mistake.path: mistake.message for mistake in mistakes}
    assert len(by_path) == len(mistakes), f"two mistakes at one path: {mistakes}"
    return by_path
