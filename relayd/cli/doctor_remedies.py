"""What helps, for each way in which an account can fail: the words of ``relayd doctor``."""

from __future__ import annotations

from typing import Final

from relayd.routing.classify import FailureKind
from relayd.transport.errors import DialErrorKind

CERTIFICATE_REMEDY: Final = "have it renewed by whoever runs the upstream"
NAME_REMEDY: Final = "check the spelling in base_url, and this host's resolver"
TLS_REMEDY: Final = "check base_url and tls_ca; `openssl s_client` shows what the upstream presents"
CLOCK_REMEDY: Final = "set this host's clock: run an NTP client"

DIAL_REMEDIES: Final = {
    DialErrorKind.NAME_NOT_RESOLVED: NAME_REMEDY,
    DialErrorKind.CONNECTION_REFUSED: "nothing listens there: check the port in base_url",
    DialErrorKind.NETWORK_UNREACHABLE: "check this host's routes, or set accounts.proxy",
    DialErrorKind.ADDRESS_REFUSED: (
        "if the upstream is in a private network, set accounts.allow_private = true; if it is not,"
        " this host's resolver is wrong, or whoever runs the upstream's name"
    ),
    DialErrorKind.CONNECT_TIMEOUT: "a firewall may drop it: allow it, or set accounts.proxy",
    DialErrorKind.CONNECTION_LOST: "something on the way cuts it: a firewall, or a proxy",
    DialErrorKind.TLS_FAILED: TLS_REMEDY,
    DialErrorKind.CERTIFICATE_REFUSED: TLS_REMEDY,
    DialErrorKind.RESOURCES_EXHAUSTED: "this host has no descriptors or ports left",
}

KEY_REMEDIES: Final = {
    FailureKind.FATAL: "replace accounts.api_key, or settle the account with its provider",
    FailureKind.RATE_LIMITED: "the key works, but is used up just now: wait, or raise its limits",
    FailureKind.REFUSED: "check the path in base_url, and what the key may do at its provider",
    FailureKind.UNREACHABLE: "see its provider's status page; where it is slow, raise timeouts",
    FailureKind.CLIENT_FAULT: "the upstream does not know the request: is the provider right?",
}
FIRST_FRAME_REMEDY: Final = (
    "raise accounts.timeouts.first_frame_s; a service that says nothing first is provider websocket"
)
