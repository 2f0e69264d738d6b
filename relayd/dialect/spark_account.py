"""What Spark's provider sees of an account: its application, and the model it is used for."""

from __future__ import annotations

from typing import Protocol

from relayd.config.spark_choice import Choice, SparkMistake, model_of
from relayd.config.spark_models import SparkModel
from relayd.dialect.chat_account import ChatAccount, Concealed


class SparkTable(Choice, Protocol):
    """An account's ``spark`` table; :class:`relayd.config.spark.SparkSettings` is one."""

    @property
    def app_id(self) -> str:
        """The application's id."""

    @property
    def api_secret(self) -> Concealed:
        """The APISecret."""

    @property
    def http_password(self) -> Concealed | None:
        """The APIPassword of the vendor's HTTP interface."""

    @property
    def uid(self) -> str | None:
        """Who is named as user, of a request that names none."""


class SparkAccount(ChatAccount, Protocol):
    """An account of the provider; :class:`relayd.config.snapshot.Account` is one."""

    @property
    def spark(self) -> SparkTable | None:
        """Its table; the configuration's checks see to it that there is one."""


def table_of(account: SparkAccount) -> SparkTable:
    """The account's table.

    Raises:
        ValueError: It has none, which the configuration's checks would have said.
    """
    if account.spark is None:
        raise ValueError("a Spark account needs its spark table")
    return account.spark


def key_of(account: SparkAccount) -> str:
    """The account's APIKey.

    Raises:
        ValueError: It has none, which the configuration's checks would have said.
    """
    if account.api_key is None:
        raise ValueError("a Spark account needs its api_key")
    return account.api_key.reveal()


def model_at(account: SparkAccount) -> SparkModel:
    """The model that the account is used for.

    Raises:
        ValueError: Its table names none, which the configuration's checks would have said.
    """
    model = model_of(table_of(account))
    if isinstance(model, SparkMistake):
        raise ValueError(f"spark.{model.setting}: {model.message}")
    return model


def hidden_texts(account: SparkAccount) -> tuple[str, ...]:
    """What of the account the upstream may repeat and nobody else is to read."""
    table = table_of(account)
    password = () if table.http_password is None else (table.http_password.reveal(),)
    return (table.app_id, table.api_secret.reveal(), key_of(account), *password)
