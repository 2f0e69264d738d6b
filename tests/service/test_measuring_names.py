"""Which model a label shows, given what clients and upstreams may say."""

from __future__ import annotations

import datetime

import attrs
import pytest

from relayd.config.pricebook import Price, PriceBook
from relayd.config.snapshot import Snapshot
from relayd.observe.metrics_labels import OTHER
from relayd.routing.classify import (
    KINDS_BY_CODE,
    KINDS_BY_TYPE,
    KINDS_BY_WORD,
    from_close,
    from_error_event,
    from_status,
)
from relayd.service.measuring_names import FAILURE_WORDS, ModelNames, failure_word
from relayd.transport.errors import DialErrorKind
from tests.service.measured import ECHO, MAIN, snapshot_of

PRICES = PriceBook(
    (Price(models=("priced", "pattern-*"), date=datetime.date(2026, 1, 1), source="a test"),)
)
ALIASING = attrs.evolve(MAIN, models=("gpt-*", "exact"), model_map={"voice": "gpt-realtime"})


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("exact", "exact"),
        ("voice", "gpt-realtime"),
        ("gpt-realtime", "gpt-realtime"),
        ("priced", "priced"),
        ("gpt-anything", OTHER),
        ("gpt-*", OTHER),
        ("pattern-x", OTHER),
        ("pattern-*", OTHER),
        ("sk-canary-1234567890", OTHER),
        ("", OTHER),
        (None, OTHER),
    ],
)
def test_a_model_is_shown_where_the_operator_has_written_it_down(
    model: str | None, label: str
) -> None:
    snapshot = snapshot_of(ALIASING, prices=PRICES)

    assert ModelNames().label(snapshot, "main", model) == label


def test_an_account_that_is_gone_has_no_aliases_any_more() -> None:
    names, before, after = ModelNames(), snapshot_of(ALIASING), snapshot_of(prices=PRICES)

    assert names.label(before, "main", "voice") == "gpt-realtime"
    assert names.label(after, "main", "voice") == OTHER
    assert names.label(after, "main", "priced") == "priced"


def test_a_passthrough_account_is_its_own_model() -> None:
    assert ModelNames().label(snapshot_of(ECHO), "echo", "relay/echo") == "relay/echo"
    assert ModelNames().label(snapshot_of(MAIN), "main", "relay/main") == OTHER


def test_there_is_an_end_to_the_models_that_are_told_apart() -> None:
    names = ModelNames(models_max=2)

    def snapshot(*models: str) -> Snapshot:
        return snapshot_of(attrs.evolve(MAIN, models=models))

    first = snapshot("a", "b", "c")
    assert [names.label(first, "main", model) for model in "abcab"] == ["a", "b", OTHER, "a", "b"]
    assert names.label(snapshot("d", "a"), "main", "d") == OTHER
    assert names.label(snapshot("d", "a"), "main", "a") == "a"


@pytest.mark.parametrize(
    "word", [*KINDS_BY_WORD, *KINDS_BY_CODE, *KINDS_BY_TYPE, *DialErrorKind, "first_frame_timeout"]
)
def test_a_word_that_relayd_knows_is_shown(word: str) -> None:
    assert failure_word(word) == word


@pytest.mark.parametrize(
    ("word", "label"),
    [
        (from_status(503).code, "http_503"),
        (from_status(299).code, OTHER),
        (from_close(1011, "").code, "closed_1011"),
        (from_close(4321, "").code, OTHER),
        (from_close(None, "").code, "closed_early"),
        (from_error_event(b'{"error":{"code":"their_word"}}').code, OTHER),
        (from_error_event(b"nonsense").code, "upstream_error"),
    ],
)
def test_a_word_of_an_upstream_s_own_is_not(word: str, label: str) -> None:
    assert failure_word(word) == label


def test_the_words_are_few() -> None:
    assert len(FAILURE_WORDS) < 100
