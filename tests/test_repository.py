"""What holds for the whole tree and no linter says."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE_LINES_MAX = 350
FUNCTION_LINES_MAX = 70
README_LINES_MAX = 120

FOLDERS = ("relayd", "tests", "bench", "docs", "etc", "systemd", ".ci")
TEXTS = {".py", ".md", ".toml", ".txt", ".service", ".socket", ".sh", ""}

COVERED_BY = {
    "relayd/cli/demo_client.py": "tests/cli/test_demo.py",
    "relayd/cli/demo_hub.py": "tests/cli/test_demo.py",
    "relayd/observe/metrics_devices.py": "tests/service/test_measuring_devices.py",
    "relayd/observe/metrics_specs.py": "tests/observe/test_metrics_document.py",
    "relayd/core/endings.py": "tests/observe/test_document.py",
    "relayd/service/entrance.py": "tests/faults/test_front_door.py",
    "relayd/service/entries/entry.py": "tests/service/test_door.py",
    "relayd/service/entries/hub.py": "tests/faults/test_hub.py",
    "relayd/service/entries/relayed.py": "tests/service/test_door.py",
    "relayd/service/entries/responses.py": "tests/faults/test_responses_aborts.py",
    "relayd/service/xiaozhi/wiring.py": "tests/integration/test_xiaozhi.py",
    "relayd/session/xiaozhi/carrier.py": "tests/faults/test_xiaozhi.py",
    "relayd/session/xiaozhi/reckoning.py": "tests/faults/test_xiaozhi.py",
    "relayd/session/xiaozhi/servers.py": "tests/faults/test_xiaozhi.py",
    "relayd/session/xiaozhi/telling.py": "tests/faults/test_xiaozhi.py",
    "relayd/service/hub/wiring.py": "tests/faults/test_hub.py",
    "relayd/service/opening.py": "tests/service/test_door.py",
    "relayd/service/public.py": "tests/faults/test_public_http.py",
    "relayd/service/admin/state.py": "tests/service/admin/stage.py",
    "relayd/service/admin/wiring.py": "tests/faults/test_admin_listener.py",
    "relayd/service/parts.py": "tests/service/test_app.py",
    "relayd/service/visit.py": "tests/service/test_door.py",
    "relayd/session/books.py": "tests/session/test_metering.py",
    "relayd/session/entries.py": "tests/session/test_metering.py",
    "relayd/session/responses/request.py": "tests/integration/test_responses_post.py",
    "relayd/session/responses/shared.py": "tests/session/responses/test_turn.py",
    "relayd/sim/realtime/delivery.py": "tests/sim/realtime/test_upstream.py",
    "relayd/sim/realtime/responses.py": "tests/sim/realtime/test_upstream.py",
    "relayd/sim/server.py": "tests/integration/test_sim_sockets.py",
    "relayd/transport/table.py": "tests/transport/test_reactor.py",
}
"""Modules that other tests exercise, being parts of one thing: a path, or a pattern of paths."""

# The patterns are written so that they do not match themselves.
LEFTOVER = re.compile(
    r"\b(T[O]DO|F[I]XME|X[X]X|H[A]CK)\b|raise N[o]tImplementedError|pragma: n[o] cover"
)
INDEX_ADDRESS = re.compile(r"(files\.p[y]thonhosted|p[y]pi)\.org|[-]-(extra-)?index-url")
SUPPRESSION = re.compile(r"#\s*(noqa|type: ignore)(?P<codes>[:\[]?[^#]*?)(?P<reason>\s[-#]\s.*)?$")
CODES = re.compile(r":\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[a-z-]+(,\s*[a-z-]+)*\]")


def texts() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXTS)
    for folder in FOLDERS:
        paths = (ROOT / folder).rglob("*")
        yield from (path for path in paths if path.is_file() and path.suffix in TEXTS)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def hits(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_module_is_too_long_to_hold_in_mind() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources("relayd", "bench")}

    assert {path for path, lines in lengths.items() if lines > MODULE_LINES_MAX} == set()


def test_no_function_is_too_long_to_hold_in_mind() -> None:
    functions = [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node)
        for path in sources("relayd", "bench")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    too_long = [
        name
        for name, node in functions
        if (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    ]

    assert too_long == []


def test_nothing_is_left_for_later() -> None:
    assert hits(LEFTOVER) == []


def test_no_package_index_is_named() -> None:
    assert hits(INDEX_ADDRESS) == []


def test_a_check_that_is_switched_off_names_itself_and_its_reason() -> None:
    unexplained = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("relayd", "tests", "bench")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := SUPPRESSION.search(line))
        and not (CODES.fullmatch(found["codes"].strip()) and found["reason"])
        and path != Path(__file__)
    ]

    assert unexplained == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < README_LINES_MAX


def test_constraints_are_pins_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    assert lines == sorted(lines, key=str.lower)
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", line)] == []


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}

    assert {re.split(r"[<>=~!;\s\[]", name)[0] for name in wanted} - pinned == set()


def modules() -> list[str]:
    """Every module with code of its own, as a path."""
    return [
        str(path.relative_to(ROOT))
        for path in sources("relayd")
        if path.name not in {"__init__.py", "__main__.py"}
    ]


def own_tests(module: str) -> list[Path]:
    package = Path(module).parent.relative_to("relayd")
    return sorted((ROOT / "tests" / package).glob(f"test_{Path(module).stem}*.py"))


def test_every_module_has_tests_of_its_own_or_says_whose_cover_it() -> None:
    uncovered = [module for module in modules() if not own_tests(module)]

    assert sorted(set(uncovered) - COVERED_BY.keys()) == []


@pytest.mark.parametrize("module", COVERED_BY)
def test_what_is_said_to_cover_a_module_exists_and_is_needed(module: str) -> None:
    assert list(ROOT.glob(COVERED_BY[module]))
    assert not own_tests(module), "it has tests of its own: take it out of COVERED_BY"


def test_only_modules_that_exist_are_said_to_be_covered() -> None:
    assert COVERED_BY.keys() <= set(modules())


def test_the_ci_recipe_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("verb", ["run", "test", "setup", "check", "fix", "bench"])
def test_every_command_of_the_project_is_in_the_makefile(verb: str) -> None:
    assert re.search(rf"^{verb}:.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
