"""Which requests go over HTTP; what they get there is played in tests/faults."""

from __future__ import annotations

import attrs
import pytest

from relayd.config.accounts import Transport
from relayd.config.secret import Secret
from relayd.config.snapshot import Account
from relayd.dialect.chat_values import ChatRequest
from relayd.session.chat.over_http import goes_over_http
from tests.dialect.chat import TOOLS, request
from tests.session.chat import accounts

PLAIN = request()
MUST_CALL = request(tools=TOOLS, tool_choice="required")
NAMED = request(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "weather"}})
MAY_CALL = request(tools=TOOLS)
FORMATTED = request(response_format={"type": "json_object"})


def account(transport: Transport, *, password: bool = True) -> Account:
    made = accounts.spark(transport=transport)
    assert made.spark is not None
    secret = Secret("password") if password else None
    return attrs.evolve(made, spark=attrs.evolve(made.spark, http_password=secret))


@pytest.mark.parametrize("asked", [PLAIN, MUST_CALL, NAMED, MAY_CALL, FORMATTED])
def test_a_transport_is_obeyed(asked: ChatRequest) -> None:
    assert goes_over_http(asked, account(Transport.HTTP))
    assert not goes_over_http(asked, account(Transport.WS))


def test_auto_sends_what_a_websocket_cannot_do() -> None:
    auto = account(Transport.AUTO)
    assert not goes_over_http(PLAIN, auto)
    assert not goes_over_http(MAY_CALL, auto)
    assert goes_over_http(MUST_CALL, auto)
    assert goes_over_http(NAMED, auto)
    assert goes_over_http(FORMATTED, auto)


@pytest.mark.parametrize("transport", list(Transport))
def test_without_a_password_nothing_goes(transport: Transport) -> None:
    assert not goes_over_http(MUST_CALL, account(transport, password=False))


def test_other_providers_have_no_such_interface() -> None:
    assert not goes_over_http(MUST_CALL, attrs.evolve(accounts.RUNTASK, transport=Transport.HTTP))
