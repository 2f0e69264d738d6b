"""The command line's frame: lazy verbs and exit codes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import click
import pytest

from relayd import __version__
from relayd.cli.main import VERBS, Verb, cli, run


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb ``end`` that ends as its argument says."""

    @click.command
    @click.argument("how")
    @click.pass_context
    def command(ctx: click.Context, how: str) -> None:
        match how:
            case "config":
                ctx.exit(78)
            case "abort":
                raise click.Abort
            case "usage":
                raise click.UsageError("not so")
            case "message":
                raise click.ClickException("because")

    module = type(sys)("relayd_test_verb")
    module.command = command  # type: ignore[attr-defined]  # a module made for the test
    monkeypatch.setitem(sys.modules, "relayd_test_verb", module)
    monkeypatch.setitem(VERBS, "end", Verb("relayd_test_verb", "End."))


@pytest.mark.usefixtures("verb")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["end", "well"], 0),
        (["end", "config"], 78),
        (["end", "usage"], 64),
        (["end", "abort"], 130),
        (["end", "message"], 1),
        (["end"], 64),
        (["end", "well", "--unknown"], 64),
        (["unknown"], 64),
        (["--unknown"], 64),
        ([], 64),
        (["--help"], 0),
        (["-h"], 0),
        (["--version"], 0),
    ],
)
def test_the_exit_code_says_how_a_command_ended(arguments: list[str], code: int) -> None:
    assert run(arguments) == code


def test_wrong_usage_is_told_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    run(["unknown"])

    out, err = capsys.readouterr()
    assert out == ""
    assert "No such command 'unknown'" in err


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--version"])

    assert __version__ in capsys.readouterr().out


def test_help_names_every_verb_and_imports_none() -> None:
    program = (
        "import sys; from relayd.cli.main import run; run(['--help']);"
        "sys.exit([name for name in sys.modules if name.startswith('relayd.cli.')]"
        " != ['relayd.cli.main'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    for name, verb in VERBS.items():
        assert f"{name} " in done.stdout
        assert verb.summary in done.stdout


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_has_a_module_with_a_command_that_explains_itself(name: str) -> None:
    assert importlib.util.find_spec(VERBS[name].module) is not None
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert command.help
