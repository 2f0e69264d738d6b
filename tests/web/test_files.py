from __future__ import annotations

import re

import pytest

from relayd.web import files

LINES_MAX = 350

FILES = files.load_files()
TEXTS = {name: content.decode() for name, (_, content) in FILES.items()}
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))
PAGE = TEXTS["index.html"]


def test_every_file_has_the_type_that_a_browser_asks_for() -> None:
    assert {name.rpartition(".")[2]: kind for name, (kind, _) in FILES.items()} == {
        "css": "text/css; charset=utf-8",
        "html": "text/html; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "svg": "image/svg+xml",
    }


@pytest.mark.parametrize("name", ["app.py", "secret", "", ".js.map"])
def test_a_file_of_another_type_is_not_served(name: str) -> None:
    with pytest.raises(ValueError, match="is of no type that is served"):
        files.content_type(name)


def test_no_script_is_too_long_to_hold_in_mind() -> None:
    lengths = {name: len(TEXTS[name].splitlines()) for name in SCRIPTS}

    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_nothing_comes_from_another_host() -> None:
    for name, text in TEXTS.items():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[\w./]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg", "https://relay.example/dashboard"}, name


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    assert re.findall(r"<script(?![^>]* src=)", PAGE) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", PAGE) == []


def test_no_script_makes_markup_or_code_of_text() -> None:
    pattern = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"

    assert [name for name in SCRIPTS if re.search(pattern, TEXTS[name])] == []


def test_what_the_page_loads_is_there_and_all_of_it_is_used() -> None:
    loaded = set(re.findall(r'(?:src|href)="dashboard/([^"]+)"', PAGE))
    for name in SCRIPTS:
        loaded |= set(re.findall(r'(?:from|import\() ?"\./([^"]+)"', TEXTS[name]))

    assert loaded | {"index.html"} == set(FILES)


def test_every_element_that_a_script_asks_for_is_in_the_page() -> None:
    there = set(re.findall(r'\sid="([^"]+)"', PAGE))
    asked = {found for name in SCRIPTS for found in re.findall(r'byId\("([^"]+)"\)', TEXTS[name])}

    assert asked <= there


def test_every_key_that_does_something_is_in_the_list_of_keys() -> None:
    shown = set(re.findall(r"<kbd>(.*?)</kbd>", PAGE[PAGE.index('id="help"') :]))
    (actions,) = re.findall(r"listenToKeys\(\{(.*?)\n\}\);", TEXTS["app.js"], re.DOTALL)
    keys = set(re.findall(r'^  "?([^\s":]+)"?: ', actions, re.MULTILINE))

    assert keys - {"?"} <= shown
