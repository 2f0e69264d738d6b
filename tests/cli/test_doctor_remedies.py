"""Every way to fail has a remedy."""

from __future__ import annotations

from relayd.cli.doctor_remedies import DIAL_REMEDIES, KEY_REMEDIES
from relayd.routing.classify import FailureKind
from relayd.transport.errors import DialErrorKind


def test_every_way_to_fail_has_a_remedy() -> None:
    assert set(DIAL_REMEDIES) == set(DialErrorKind)
    assert set(KEY_REMEDIES) == set(FailureKind)
    assert all([*DIAL_REMEDIES.values(), *KEY_REMEDIES.values()])
