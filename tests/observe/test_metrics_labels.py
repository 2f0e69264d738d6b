from __future__ import annotations

from relayd.config.kinds import name_mistake
from relayd.core.endings import Reason
from relayd.core.refusals import RefusalCode
from relayd.dialect import chat_faults
from relayd.dialect.behind import Fault
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.spark_errors import MEANINGS
from relayd.observe import metrics_labels as labels
from relayd.observe.metrics_labels import NO_ACCOUNT, NO_REASON, OTHER, Label
from relayd.pool.events import Broken, PoolEventKind, Refused, Rotated
from relayd.pool.idle import why_broken
from relayd.pool.slots import State
from relayd.protocol.outcomes import Violation
from relayd.session.chat import verdicts


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


def test_a_status_that_http_does_not_know_has_none_either() -> None:
    assert [labels.STATUS_ANSWERED.bound(status) for status in ("0", "200", "422", "503")] == [
        "0",
        "200",
        "422",
        "503",
    ]
    assert labels.STATUS_ANSWERED.bound("299") == labels.STATUS_ANSWERED.bound("-1") == OTHER


def test_the_words_of_turns_are_those_of_the_dialect() -> None:
    assert set(labels.TURN_ABORTS) == set(Abort)
    assert {labels.TURN_REASON.bound(abort) for abort in Abort} == set(Abort)


def test_the_words_of_the_pool_are_those_of_the_pool() -> None:
    assert set(labels.POOL_WORDS) == {*Broken, *Rotated, *Refused}
    assert set(labels.POOL_STATE.values) == set(State) - {State.CLOSED}
    untold = {PoolEventKind.LEASE_WAITED, PoolEventKind.LEASE_RELEASED}
    assert set(labels.POOL_EVENT.values) == set(PoolEventKind) - untold


def test_whatever_breaks_a_socket_has_a_word_of_its_own() -> None:
    by_upstream = (
        Reason.PROTOCOL_ERROR_UPSTREAM,
        Reason.BAD_UTF8,
        Reason.TOO_BIG,
        Reason.CONTROL_FLOOD,
    )
    words = {*Broken, *Abort, *(why_broken(Violation(reason, "")) for reason in by_upstream)}

    assert {labels.POOL_REASON.bound(word) for word in words} == words
    assert labels.POOL_REASON.bound(NO_REASON) == NO_REASON
    assert labels.POOL_REASON.bound("made up") == OTHER


def test_no_account_can_be_called_as_where_there_is_none() -> None:
    assert name_mistake(NO_ACCOUNT) is not None


def test_every_fault_of_a_chat_turn_has_a_label_of_its_own() -> None:
    codes = {meaning.code for meaning in MEANINGS.values()}
    faults = (
        *(value for value in vars(verdicts).values() if isinstance(value, Fault)),
        *(value for value in vars(chat_faults).values() if isinstance(value, Fault)),
    )

    assert codes | {fault.code for fault in faults} <= set(labels.TURN_REASON.values)
