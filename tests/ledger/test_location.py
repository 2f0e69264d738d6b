"""From ``ledger.url`` to a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from relayd.ledger.location import ledger_path


@pytest.mark.parametrize(
    ("url", "environ", "path"),
    [
        ("sqlite:relayd.db", {}, "relayd.db"),
        ("sqlite:relayd.db", {"STATE_DIRECTORY": ""}, "relayd.db"),
        ("sqlite:relayd.db", {"STATE_DIRECTORY": "/var/lib/relayd"}, "/var/lib/relayd/relayd.db"),
        ("sqlite:a/b.db", {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a/a/b.db"),
        ("sqlite:/srv/relayd.db", {"STATE_DIRECTORY": "/var/lib/relayd"}, "/srv/relayd.db"),
    ],
)
def test_a_relative_path_starts_in_the_state_directory(
    url: str, environ: dict[str, str], path: str
) -> None:
    assert ledger_path(url, environ) == Path(path)


def test_a_ledger_in_memory_is_no_file() -> None:
    assert ledger_path("sqlite::memory:", {}) is None


def test_another_kind_of_url_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="sqlite") as refused:
        ledger_path("postgresql://relayd:canary@localhost/relayd", {})

    assert "canary" not in str(refused.value)
