from __future__ import annotations

from relayd.core.endings import Reason
from relayd.core.refusals import RefusalCode
from relayd.observe import metrics_labels as labels
from relayd.observe.metrics_labels import OTHER, Label


def test_a_label_with_known_values_shows_no_others() -> None:
    label = Label("direction", "", ("up", "down"))

    assert [label.bound(value) for value in ("up", "down", "sideways", "")] == [
        "up",
        "down",
        OTHER,
        OTHER,
    ]


def test_a_label_of_the_configuration_shows_what_it_is_given() -> None:
    assert Label("account", "").bound("openai-main") == "openai-main"


def test_every_ending_and_every_refusal_has_a_value_of_its_own() -> None:
    assert {labels.ENDING.bound(reason) for reason in Reason} == set(Reason)
    assert {labels.TURN_REASON.bound(reason) for reason in Reason} == set(Reason)
    assert {labels.REFUSAL.bound(code) for code in RefusalCode} == set(RefusalCode)


def test_a_status_that_relayd_never_sends_has_none() -> None:
    assert labels.STATUS_SENT.bound("429") == "429"
    assert labels.STATUS_SENT.bound("0") == "0"
    assert labels.STATUS_SENT.bound("299") == OTHER
