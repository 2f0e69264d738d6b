import json
from pathlib import Path

import attrs
import pytest

from tests.conformance import report
from tests.conformance.report import Outcome

GOOD = Outcome("3.1", "OK", "OK", 1002, frozenset({1002}))


def test_a_case_that_passed_and_closed_with_the_right_code_is_no_complaint() -> None:
    assert report.complaints([GOOD], cases=1) == []


@pytest.mark.parametrize("behaviour", ["NON-STRICT", "INFORMATIONAL"])
def test_what_the_rfc_leaves_open_is_no_complaint(behaviour: str) -> None:
    assert attrs.evolve(GOOD, behaviour=behaviour).complaint() is None


@pytest.mark.parametrize("behaviour", ["FAILED", "UNIMPLEMENTED", "UNKNOWN"])
def test_every_other_behaviour_is_a_complaint(behaviour: str) -> None:
    assert attrs.evolve(GOOD, behaviour=behaviour).complaint() == f"3.1: {behaviour}"


@pytest.mark.parametrize("closing", ["FAILED", "UNCLEAN", "WRONG CODE", "FAILED BY CLIENT"])
def test_an_end_that_was_not_clean_is_a_complaint(closing: str) -> None:
    complaint = attrs.evolve(GOOD, closing=closing).complaint()

    assert complaint == f"3.1: closed {closing} with 1002"


@pytest.mark.parametrize("code", [None, 1000, 1007])
def test_a_violation_that_was_not_answered_with_its_code_is_a_complaint(code: int | None) -> None:
    complaint = attrs.evolve(GOOD, close_code=code).complaint()

    assert complaint == f"3.1: closed with {code} instead of 1002"


def test_a_case_that_ends_normally_may_close_without_a_code() -> None:
    normal = Outcome("7.3.1", "OK", "OK", None, frozenset({1000}))

    assert normal.complaint() is None


def test_a_case_without_a_report_is_a_complaint() -> None:
    assert report.complaints([GOOD]) == [f"1 cases of {report.CASES} have a report"]


def test_an_outcome_is_read_from_the_index_and_the_report_of_its_case(tmp_path: Path) -> None:
    index = {"relayd": {"3.1": {"reportfile": "relayd_case_3_1.json"}}, "other": {}}
    details = {
        "behavior": "OK",
        "behaviorClose": "OK",
        "remoteCloseCode": 1002,
        "expectedClose": {"closeCode": [1002], "requireClean": False},
    }
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / "relayd_case_3_1.json").write_text(json.dumps(details))

    assert report.read(tmp_path, "relayd") == (GOOD,)


def test_a_report_without_the_codes_that_were_expected_is_refused(tmp_path: Path) -> None:
    index = {"relayd": {"3.1": {"reportfile": "relayd_case_3_1.json"}}}
    details = {"behavior": "OK", "behaviorClose": "OK", "remoteCloseCode": 1002}
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / "relayd_case_3_1.json").write_text(json.dumps(details))

    with pytest.raises(ValueError, match=r"case 3\.1: not a report of a finished case"):
        report.read(tmp_path, "relayd")


def test_the_summary_counts_behaviours_and_names_the_cases_that_are_less_than_ok() -> None:
    outcomes = [
        attrs.evolve(GOOD, case="1.1.1"),
        GOOD,
        attrs.evolve(GOOD, case="7.1.6", behaviour="INFORMATIONAL"),
    ]

    assert report.summary(outcomes) == "2 OK, 1 INFORMATIONAL\nINFORMATIONAL: 7.1.6"
