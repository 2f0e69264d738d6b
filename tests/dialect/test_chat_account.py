"""What providers see of an account is there in what the configuration makes."""

from __future__ import annotations

from relayd.config.secret import Secret
from relayd.config.spark import ChatDefaults
from relayd.dialect.chat_account import ChatAccount, Concealed, Defaults
from tests.dialect.chat import FakeAccount, account


def test_the_settings_have_what_is_asked_of_them() -> None:
    """The type checker proves it; the values are as they were given."""
    secret: Concealed = Secret("s")
    defaults: Defaults = ChatDefaults(temperature=0.5, max_tokens=7)
    chosen: ChatAccount = FakeAccount()

    assert secret.reveal() == "s"
    assert (defaults.temperature, defaults.max_tokens, defaults.top_k) == (0.5, 7, None)
    assert chosen.defaults == ChatDefaults()
    assert chosen.base_url == account().base_url
