"""Accounts of the chat dialect for tests."""

from __future__ import annotations

import attrs

from relayd.config.providers import Provider
from relayd.config.secret import Secret
from relayd.config.snapshot import Account
from relayd.config.spark import SparkSettings
from relayd.config.url import parse_base_url

RUNTASK = Account(
    name="tasks", provider=Provider.RUNTASK, base_url=parse_base_url("wss://127.0.0.1:9")
)


def spark(name: str = "one", version: str = "v3.5", **members: object) -> Account:
    """A Spark account."""
    made = Account(
        name=name,
        provider=Provider.SPARK,
        base_url=parse_base_url("ws://127.0.0.1:9"),
        api_key=Secret("key"),
        spark=SparkSettings(app_id="app", api_secret=Secret("secret"), api_version=version),
    )
    return attrs.evolve(made, **members)  # type: ignore[arg-type]  # passed on as given
