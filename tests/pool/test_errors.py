"""Why nothing was leased."""

from __future__ import annotations

from relayd.pool.errors import LeaseRefused
from relayd.pool.events import Refused


def test_every_refusal_has_its_exception() -> None:
    assert {error.word for error in LeaseRefused.__subclasses__()} == set(Refused)
