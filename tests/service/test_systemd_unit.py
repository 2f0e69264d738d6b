from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from relayd.config.schema import ServerSettings

UNIT = Path(__file__).parents[2] / "systemd" / "relayd.service"
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
EXPOSURE_MAX = 1.3

needs_systemd = pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="there is no systemd-analyze")


def settings() -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way
    parser.read(UNIT)
    return {**parser["Unit"], **parser["Service"]}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as it would be where relayd is installed: its command exists."""
    text = re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    return unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert SYSTEMD_ANALYZE is not None
    return subprocess.run(
        [SYSTEMD_ANALYZE, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(installed: Path) -> None:
    result = analyze("verify", str(installed))

    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@needs_systemd
def test_the_unit_is_as_confined_as_a_relay_can_be(installed: Path) -> None:
    result = analyze("security", "--offline=yes", "--no-pager", str(installed))

    exposure = re.search(r"exposure level for relayd\.service: ([\d.]+)", result.stdout)
    assert exposure is not None, result.stderr
    assert float(exposure[1]) <= EXPOSURE_MAX


def test_systemd_waits_longer_than_a_drain_takes() -> None:
    assert int(settings()["TimeoutStopSec"]) > ServerSettings().drain_s


def test_the_unit_is_started_when_relayd_says_so() -> None:
    assert settings()["Type"] == "notify"


def test_a_refused_configuration_is_not_tried_again() -> None:
    assert settings()["Restart"] == "on-failure"
    assert settings()["RestartPreventExitStatus"] == "78"
