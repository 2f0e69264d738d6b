"""Prometheus' configuration of the page: it can be read, and it leads to the metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.integration.pages import DOCS, blocks_of
from tests.integration.plain_yaml import parsed
from tests.integration.stage import INTERPRETERS, Stage

PAGE = "operating.md"
TOKEN = "a-token-of-the-admin-listener"
PROMTOOL = shutil.which("promtool")
(SCRAPING,) = (block for block in blocks_of(PAGE) if block.name == "prometheus.yml")
CONFIG = """[server]
listen = ["127.0.0.1:0"]
{admin}
[ledger]
url = "sqlite::memory:"
"""
ASK = "curl -s --max-time 20 -o /dev/null -w '%{{http_code}}' {headers} http://{target}/metrics"


def job() -> dict[str, Any]:
    """The one scrape job of the page."""
    (one,) = parsed(SCRAPING.text)["scrape_configs"]
    assert isinstance(one, dict)
    return one


def target() -> str:
    (static,) = job()["static_configs"]
    (only,) = static["targets"]
    return str(only)


def admin_settings() -> list[str]:
    """What the page sets in ``[server]`` for it."""
    settings = re.findall(r'`(admin(?:_token)? = ".+?")`', (DOCS / PAGE).read_text())
    assert [each.partition(" ")[0] for each in settings] == ["admin", "admin_token"]
    return settings


def test_the_job_has_all_that_prometheus_needs_and_the_name_that_the_alerts_ask_for() -> None:
    rules = (DOCS.parent / "etc" / "alerts.yml").read_text()

    assert set(job()) == {"job_name", "authorization", "static_configs"}
    assert set(job()["authorization"]) == {"credentials_file"}
    assert f'up{{job="{job()["job_name"]}"}}' in rules
    assert admin_settings()[0] == f'admin = "{target()}"'


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool")
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(SCRAPING.text)
    assert PROMTOOL is not None

    command = [PROMTOOL, "check", "config", "--syntax-only", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
async def test_the_job_gets_the_metrics_and_nobody_without_its_token(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage = Stage(tmp_path, {target(): "127.0.0.1:0"})
    for folder in ("/etc/relayd", "/etc/prometheus"):
        stage.places[folder] = str(tmp_path / folder[1:])
    stage.write("/etc/relayd/relayd.toml", CONFIG.format(admin="\n".join(admin_settings())))
    stage.write("/etc/relayd/secrets/admin-token", f"{TOKEN}\n")
    credentials = job()["authorization"]["credentials_file"]
    stage.write(credentials, f"{TOKEN}\n")
    relayd = await stage.serve("relayd serve --config /etc/relayd/relayd.toml", nursery)
    (started,) = relayd.of(LogEvent.SERVER_STARTED)
    bearer = f'-H "Authorization: Bearer $(cat {credentials})"'

    stage.places[target()] = started["admin"]

    scraped = await stage.run(ASK.format(headers=bearer, target=target()), INTERPRETERS["sh"])
    refused = await stage.run(ASK.format(headers="", target=target()), INTERPRETERS["sh"])

    assert (scraped, refused) == ("200", "401")


# -- what reads it


def test_the_part_of_yaml_that_the_page_uses_is_read() -> None:
    text = 'a:\n  - b: one\n    c:\n      - d: ["x:1", "y"]\n  - b: "t w o"\ne: f/g\n'

    assert parsed(text) == {
        "a": [{"b": "one", "c": [{"d": ["x:1", "y"]}]}, {"b": "t w o"}],
        "e": "f/g",
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2\n",
        "a:\n",
        "a: b\n  c: d\n",
        "a:\n    b: c\n  d: e\n",
        "a:b\n",
        "\ta: b\n",
        "a: &b c\n",
        "a: [b]\n",
        "a: b # c\n",
        "a: |\n  b\n",
        "- a: b\nc: d\n",
        "- a: b\n",
    ],
)
def test_what_is_no_such_yaml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not understood|indented|Expecting"):
        parsed(text)
