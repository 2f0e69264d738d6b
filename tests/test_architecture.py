"""What ARCHITECTURE.md says about errors, held against the code."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TABLE = re.compile(r"^\| what ends \|.*\n\| --- .*\n((?:\|.*\n)+)", re.MULTILINE)
BOUNDARY = re.compile(r"`(?:(?P<module>[\w/]+\.py): )?(?P<function>[\w.]+)`")


def broad_excepts(source: str) -> Iterator[tuple[str, ast.AST]]:
    """What catches nearly everything, with the qualified name of the function it stands in."""

    def within(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            inner = names
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = (*names, child.name)
            if is_broad(child):
                yield ".".join(inner), child
            yield from within(child, inner)

    yield from within(ast.parse(source), ())


def is_broad(node: ast.AST) -> bool:
    caught: list[ast.expr | None] = []
    if isinstance(node, ast.ExceptHandler):
        caught = [*node.type.elts] if isinstance(node.type, ast.Tuple) else [node.type]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        caught = [*node.args]
    return any(
        each is None
        or ast.unparse(each).removeprefix("builtins.") in {"Exception", "BaseException"}
        for each in caught
    )


def goes_on(node: ast.AST) -> bool:
    """Whether what was caught is not raised again, whatever it was."""
    if not isinstance(node, ast.ExceptHandler) or not isinstance(node.body[-1], ast.Raise):
        return True
    return any(isinstance(each, ast.Return | ast.Break | ast.Continue) for each in ast.walk(node))


def boundaries(source: str) -> list[str]:
    return [name for name, node in broad_excepts(source) if goes_on(node)]


def told(text: str) -> Iterator[str]:
    """The boundaries in the table, as ``module: function``; a module holds until the next one."""
    table = TABLE.search(text)
    assert table is not None, "the table of boundaries is gone"
    for row in table[1].splitlines():
        module = None
        for found in BOUNDARY.finditer(row.split("|")[2]):
            module = found["module"] or module
            yield f"{module}: {found['function']}"


def test_every_broad_except_raises_again_or_is_a_boundary_that_is_told() -> None:
    package = ROOT / "relayd"
    code = Counter(
        f"{path.relative_to(package)}: {name}"
        for path in sorted(package.rglob("*.py"))
        for name in boundaries(path.read_text())
    )

    assert code == Counter(told((ROOT / "ARCHITECTURE.md").read_text()))


@pytest.mark.parametrize(
    "caught",
    [
        "except Exception:\n   pass",
        "except (OSError, Exception) as error:\n   log(error)",
        "except BaseException as error:\n   if error:\n    raise",
        "except BaseException:\n   if done:\n    return\n   raise",
        "except:\n   pass",
        "except* Exception:\n   pass",
    ],
)
def test_an_except_that_goes_on_is_found(caught: str) -> None:
    assert boundaries(f"class A:\n def f(self):\n  try:\n   g()\n  {caught}\n") == ["A.f"]


def test_so_is_one_in_other_words() -> None:
    assert boundaries("async def f():\n with contextlib.suppress(Exception):\n  g()\n") == ["f"]


@pytest.mark.parametrize(
    "caught", ["except BaseException:\n  h()\n  raise", "except (OSError, ValueError):\n   pass"]
)
def test_one_that_raises_again_or_knows_what_it_catches_is_none(caught: str) -> None:
    assert boundaries(f"def f():\n try:\n  g()\n {caught}\n") == []
