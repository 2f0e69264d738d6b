"""How a request directs its own answer."""

from __future__ import annotations

import pytest

from relayd.sim.spark.directions import WORDS_MAX, Directions, directions, undirected


@pytest.mark.parametrize(
    ("heard", "uid", "expected"),
    [
        ("hello", None, Directions()),
        ("hello", "someone", Directions()),
        ("[sim:slow] hello", None, Directions("slow")),
        ("hello [sim:slow]", "sim-stall", Directions("slow")),
        ("hello", "sim-stall", Directions("stall")),
        ("hello", "sim:error_10013", Directions("error_10013")),
        ("hello", "sim-Stall", Directions()),
        ("[sim:normal words=500]", None, Directions("normal", 500)),
        ("[sim:stall s=2.5]", None, Directions("stall", None, 2.5)),
        ("[sim:stall words=7 s=3]", None, Directions("stall", 7, 3.0)),
        ("[sim:normal words=0]", None, Directions("normal", 1)),
        ("[sim:normal words=999999]", None, Directions("normal", WORDS_MAX)),
        ("[sim:stall s=99999]", None, Directions("stall", None, 86_400.0)),
        ("[sim:slow", None, Directions()),
        ("[sim:]", None, Directions()),
        ("[sim:slow lang=de]", None, Directions()),
    ],
)
def test_what_is_asked_for(heard: str, uid: str | None, expected: Directions) -> None:
    assert directions(heard, uid) == expected


def test_the_marker_is_not_said_back() -> None:
    assert undirected("[sim:normal words=5] hello there") == "hello there"
    assert undirected("hello there") == "hello there"
