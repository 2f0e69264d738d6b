from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.providers import Dialect
from relayd.core.refusals import Refusal
from relayd.session.routes import DIALECT_PATHS, Route, find_route

PATH_TEXT = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E))
TAILS = st.lists(st.sampled_from(["/", ".", "..", "a", "%", "%2e", "%2F", "%5c", "%41", "\\"]))


@pytest.mark.parametrize(
    "path", ["/v1/realtime", "/realtime", "/openai/v1/realtime", "/openai/realtime"]
)
def test_realtime_has_four_paths(path: str) -> None:
    assert find_route(path) == Route(Dialect.REALTIME)


@pytest.mark.parametrize(
    ("path", "account_name", "tail"),
    [
        ("/relay/echo", "echo", ""),
        ("/relay/echo/", "echo", "/"),
        ("/relay/echo/v1/live", "echo", "/v1/live"),
        ("/relay/a.b_c-1/x%20y/%C3%A4/", "a.b_c-1", "/x%20y/%C3%A4/"),
        ("/relay/echo/a.b/...;v=1", "echo", "/a.b/...;v=1"),
        ("/relay/echo/a//b", "echo", "/a//b"),
        ("/relay/../x", "..", "/x"),  # names no account, and none can be called that
    ],
)
def test_a_relay_path_names_an_account_and_keeps_its_tail_as_it_came(
    path: str, account_name: str, tail: str
) -> None:
    assert find_route(path) == Route(Dialect.PASSTHROUGH, account_name, tail)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v1/realtime/", "/V1/realtime", "//v1/realtime", "/v1/%72ealtime"),
        *("/relay", "/relay/", "/relay//x", "/relay/%65cho", "/relay/a%2Fb", "/v1/../realtime"),
    ],
)
def test_an_unknown_path_is_404_and_names_the_paths_there_are(path: str) -> None:
    refusal = find_route(path)

    assert isinstance(refusal, Refusal)
    assert refusal.status == 404
    for known in [*DIALECT_PATHS, "/relay/{account}/"]:
        assert known in refusal.message


@pytest.mark.parametrize(
    "tail",
    [
        *("/.", "/..", "/../x", "/x/..", "/x/./y", "//evil.example/x", "/%2e%2e/x", "/%2E./x"),
        *("/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/%00", "/%0d%0a", "/%7f", "/%", "/%4", "/%zz"),
    ],
)
def test_a_tail_that_could_be_another_path_is_refused(tail: str) -> None:
    refusal = find_route(f"/relay/echo{tail}")

    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


@given(PATH_TEXT | TAILS.map("".join))
def test_a_tail_that_passes_stays_below_the_base_path(tail: str) -> None:
    route = find_route(f"/relay/echo/{tail}")

    if isinstance(route, Route):
        assert route.tail == f"/{tail}"
        decoded = re.sub(
            "%([0-9A-F]{2})", lambda hit: chr(int(hit[1], 16)), tail, flags=re.IGNORECASE
        )
        assert not {".", ".."} & set(re.split(r"[/\\]", decoded))


def test_a_repr_does_not_show_the_tail() -> None:
    assert "canary" not in repr(find_route("/relay/echo/canary"))
