"""What is set up once for the whole process. The changes are made in a child process."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from relayd.service import process


def child(program: str) -> str:
    """What ``program`` prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_soft_limit_on_descriptors_is_raised_to_the_hard_one() -> None:
    said = child(
        "import resource as r; from relayd.service import process;"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, 4000)); process.raise_descriptor_limit();"
        "print(*r.getrlimit(r.RLIMIT_NOFILE), process.sessions_max())"
    )

    assert said == "4000 4000 1872"


@pytest.mark.parametrize(
    ("soft", "sessions"),
    [(process.DESCRIPTORS_KEPT + 2000, 1000), (process.DESCRIPTORS_KEPT + 3, 1), (64, 1)],
)
def test_two_descriptors_a_session_and_some_kept_and_at_least_one_session(
    monkeypatch: pytest.MonkeyPatch, soft: int, sessions: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (soft, soft))

    assert process.sessions_max() == sessions


def test_what_start_up_made_is_exempt_from_collection() -> None:
    said = child(
        "import gc; from relayd.service import process; process.settle_garbage_collector();"
        "print(gc.get_threshold() == process.GC_THRESHOLDS, gc.get_freeze_count() > 1000)"
    )

    assert said == "True True"
