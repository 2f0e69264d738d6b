import os
from pathlib import Path

import pytest

from tests.conformance import environment

SHIM = "#!/bin/sh\necho no such version >&2\nexit 127\n"
PYTHON27 = "#!/bin/sh\nexit 0\n"
"""As far as a probe can tell."""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def search(*folders: Path) -> str:
    return os.pathsep.join(map(str, folders))


def test_the_interpreter_that_the_environment_names_comes_first(tmp_path: Path) -> None:
    named = program(tmp_path / "opt" / "python", PYTHON27)
    program(tmp_path / "bin" / "python2.7", PYTHON27)
    environ = {"PYTHON27": str(named), "PATH": search(tmp_path / "bin")}

    assert environment.find_python27(environ) == named


def test_a_shim_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "shims" / "python2.7", SHIM)
    real = program(tmp_path / "bin" / "python2.7", PYTHON27)
    environ = {"PATH": search(tmp_path / "shims", tmp_path / "bin")}

    assert environment.find_python27(environ) == real


def test_a_version_of_pyenv_is_found_when_only_its_shim_is_on_the_path(tmp_path: Path) -> None:
    program(tmp_path / "shims" / "python2.7", SHIM)
    program(tmp_path / "shims" / "pyenv", f"#!/bin/sh\n[ $1 = root ] && echo {tmp_path}/root\n")
    real = program(tmp_path / "root" / "versions" / "2.7.18" / "bin" / "python2.7", PYTHON27)

    assert environment.find_python27({"PATH": search(tmp_path / "shims")}) == real


@pytest.mark.parametrize("named", ["", "/nowhere/python2.7"])
def test_none_is_found_where_there_is_none(tmp_path: Path, named: str) -> None:
    environ = {"PYTHON27": named, "PATH": search(tmp_path)}

    assert environment.find_python27(environ) is None


def test_another_version_is_not_taken_for_python27(tmp_path: Path) -> None:
    newer = program(tmp_path / "python", '#!/bin/sh\nexec /usr/bin/env python3 "$@"\n')
    environ = {"PYTHON27": str(newer), "PATH": os.environ["PATH"]}

    assert environment.find_python27(environ) != newer


def test_the_pins_are_exact_and_nothing_else() -> None:
    lines = environment.CONSTRAINTS.read_text().splitlines()

    assert "autobahntestsuite==25.10.1" in lines
    assert [line for line in lines if len(line.split("==")) != 2 or " " in line] == []


def test_a_step_that_fails_says_what_was_run_and_what_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "HOME", tmp_path / "environment")
    broken = program(tmp_path / "python2.7", SHIM)

    with pytest.raises(environment.EnvironmentBroken, match=r"virtualenv(.|\n)*python2\.7"):
        environment.ensure(broken)
