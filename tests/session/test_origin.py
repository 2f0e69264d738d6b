"""Which web pages may open a WebSocket here."""

from __future__ import annotations

import pytest

from relayd.core.refusals import RefusalCode
from relayd.session.origin import check_origin


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "passes"),
    [
        (None, "relay.example", (), True),
        (None, "relay.example", ("https://app.example",), True),
        ("https://relay.example", "relay.example", (), True),
        ("https://Relay.Example", "relay.EXAMPLE:443", (), True),
        ("http://relay.example:80", "relay.example", (), True),
        ("http://127.0.0.1:8765", "127.0.0.1:8765", (), True),
        ("http://[::1]:8765", "[::1]:8765", (), True),
        ("http://127.0.0.1:3000", "127.0.0.1:8765", (), False),
        ("https://relay.example:80", "relay.example", (), False),
        ("https://evil.example", "relay.example", (), False),
        ("https://relay.example.evil.example", "relay.example", (), False),
        ("https://relay.example@evil.example", "relay.example", (), False),
        ("https://relay.example, https://evil.example", "relay.example", (), False),
        ("relay.example", "relay.example", (), False),
        ("https://", "", (), False),
        ("", "relay.example", (), False),
        ("null", "relay.example", (), False),
        ("file://relay.example", "relay.example", (), False),
        ("null", "relay.example", ("*",), True),
        ("https://evil.example", "relay.example", ("*",), True),
        ("https://app.example", "relay.example", ("https://app.example",), True),
        ("https://APP.example", "relay.example", ("https://app.example",), True),
        ("https://app.example:8443", "relay.example", ("https://app.example",), False),
        ("http://app.example", "relay.example", ("https://app.example",), False),
        ("https://relay.example", "relay.example", ("https://app.example",), False),
    ],
)
def test_an_origin_is_at_the_host_itself_or_among_the_allowed(
    origin: str | None, host: str, allowed: tuple[str, ...], passes: bool
) -> None:
    refusal = check_origin(origin, host, allowed)

    assert (refusal is None) is passes
    assert refusal is None or refusal.code is RefusalCode.ORIGIN_NOT_ALLOWED
