"""An account of Spark's, and one that no check has looked at."""

from __future__ import annotations

import attrs
import pytest

from relayd.dialect.spark_account import hidden_texts, key_of, model_at, table_of
from tests.dialect.chat import KEY, SECRET, FakeAccount, account


def test_an_account_has_a_key_a_table_and_a_model() -> None:
    chosen = account()

    assert key_of(chosen) == KEY
    assert table_of(chosen).api_secret.reveal() == SECRET
    assert model_at(chosen).product == "Max"
    assert set(hidden_texts(chosen)) == {"a1b2c3d4", KEY, SECRET}


def test_what_the_checks_would_have_said_is_an_error_of_relayd_s() -> None:
    with pytest.raises(ValueError, match="spark table"):
        model_at(FakeAccount())
    with pytest.raises(ValueError, match="api_version"):
        model_at(account("v9"))
    with pytest.raises(ValueError, match="api_key"):
        key_of(attrs.evolve(account(), api_key=None))
