"""Which provider stands behind an account, and how long it may take."""

from __future__ import annotations

import pytest

from relayd.config.accounts import Timeouts
from relayd.config.providers import Dialect, Provider
from relayd.dialect.runtask import RUNTASK
from relayd.dialect.spark import SPARK
from relayd.session.chat.providers import PROVIDERS, Patience, patience_with, provider_of
from tests.session.chat import accounts


def test_every_provider_of_the_dialect_is_known() -> None:
    assert set(PROVIDERS) == {each for each in Provider if Dialect.CHAT in each.dialects}


def test_who_speaks_for_an_account() -> None:
    assert provider_of(accounts.spark()) is SPARK
    assert provider_of(accounts.spark(provider=Provider.SIM_SPARK)) is SPARK
    assert provider_of(accounts.RUNTASK) is RUNTASK


@pytest.mark.parametrize(
    ("version", "first_frame_s"), [("v3.5", 20.0), ("v1.1", 20.0), ("x1.5", 60.0), ("x2", 60.0)]
)
def test_a_model_that_thinks_may_take_longer(version: str, first_frame_s: float) -> None:
    expected = Patience(first_frame_s=first_frame_s, idle_s=30.0, total_s=300.0)
    assert patience_with(accounts.spark(version=version)) == expected


def test_what_is_configured_goes_before_that() -> None:
    times = Timeouts(first_frame_s=3.0, idle_s=4.0, total_s=5.0)
    for account in (accounts.spark(timeouts=times), accounts.spark("x", "x2", timeouts=times)):
        assert patience_with(account) == Patience(3.0, 4.0, 5.0)


def test_other_providers_have_the_same_defaults() -> None:
    assert patience_with(accounts.RUNTASK) == Patience(20.0, 30.0, 300.0)
