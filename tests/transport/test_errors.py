"""The vocabulary of failed connections, and who is to blame for each."""

from __future__ import annotations

import errno

import pytest

from relayd.core.endings import Fault
from relayd.transport import errors
from relayd.transport.errors import KINDS_BY_ERRNO, DialError, DialErrorKind


@pytest.mark.parametrize(("code", "kind"), [*KINDS_BY_ERRNO.items()])
def test_a_known_errno_has_its_word(code: int, kind: DialErrorKind) -> None:
    assert errors.from_errno(code, "192.0.2.1:443").kind is kind


def test_only_a_lack_of_resources_is_relayds_own_fault() -> None:
    own = {kind for kind in DialErrorKind if DialError(kind, "").fault is Fault.RELAY}

    assert own == {DialErrorKind.RESOURCES_EXHAUSTED}


def test_an_errno_that_is_not_known_means_that_the_network_does_not_reach_there() -> None:
    error = errors.from_errno(errno.ENETDOWN, "[2001:db8::1]:443")

    assert error.kind is DialErrorKind.NETWORK_UNREACHABLE
    assert str(error) == "connecting to [2001:db8::1]:443 failed: network is down"
