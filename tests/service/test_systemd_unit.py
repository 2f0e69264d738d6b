"""The units: what systemd thinks of them, and that they fit what relayd does."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from relayd.config.schema import ServerSettings
from relayd.service.listeners import ADMIN_NAME, BACKLOG
from relayd.service.watchdog import EXTEND_EVERY_S, EXTEND_S, watchdog_interval_s

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT, SOCKET = FOLDER / "relayd.service", FOLDER / "relayd.socket"
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
EXPOSURE_MAX = 1.3

needs_systemd = pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="there is no systemd-analyze")


def settings(path: Path = UNIT) -> dict[str, str]:
    """Every setting of a unit; of one that is there several times the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way
    parser.read(path)
    return {name: value for section in parser.sections() for name, value in parser.items(section)}


def all_of(name: str) -> list[str]:
    """Every value that the service has for ``name``, in order, with its continued lines."""
    text = UNIT.read_text().replace("\\\n", " ")
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they would be where relayd is installed: its command exists."""
    text = re.sub(
        r"^(Exec\w+=)/usr/bin/relayd", r"\1/bin/true", UNIT.read_text(), flags=re.MULTILINE
    )
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    (tmp_path / SOCKET.name).write_text(SOCKET.read_text())
    return unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert SYSTEMD_ANALYZE is not None
    return subprocess.run(
        [SYSTEMD_ANALYZE, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units(installed: Path) -> None:
    result = analyze("verify", str(installed), str(installed.with_name(SOCKET.name)))

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


def test_a_reload_is_of_the_file_that_is_served() -> None:
    (reload,), (serve,) = all_of("ExecReload"), all_of("ExecStart")
    command, config = serve.split(" serve ")

    assert f'config="{config}"' in reload
    assert f"{command} reload $$config" in reload


def test_a_reload_does_not_read_what_is_for_the_service_alone() -> None:
    """``ExecReload=`` sees no credentials: a check of the whole file would find them missing."""
    assert not [line for line in all_of("ExecReload") if "relayd check" in line]


def test_every_variable_of_a_reload_is_left_to_its_shell() -> None:
    (reload,) = all_of("ExecReload")

    assert re.findall(r"(?<!\$)\$(?!\$)", reload) == []


def test_the_watchdog_is_fed_and_a_loop_that_hangs_is_started_again() -> None:
    usec = int(settings()["WatchdogSec"]) * 1_000_000

    assert watchdog_interval_s({"WATCHDOG_USEC": str(usec)}) == 10.0
    assert settings()["Restart"] == "on-failure", "which the watchdog counts as"


def test_a_drain_asks_for_time_before_systemd_stops_waiting() -> None:
    assert EXTEND_EVERY_S < EXTEND_S < int(settings()["TimeoutStopSec"])


def test_the_socket_unit_is_the_services_and_listens_where_relayd_would() -> None:
    unit = settings(SOCKET)

    assert SOCKET.stem == UNIT.stem, "by its name it belongs to the service"
    assert (unit["ListenStream"],) == ServerSettings().listen
    assert unit["Accept"] == "no"
    assert unit["FileDescriptorName"] != ADMIN_NAME
    assert unit["Backlog"] == str(BACKLOG)
