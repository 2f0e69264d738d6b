"""How a device is told no, in words that its firmware knows.

Devices look at the status first: behind any but 200 the firmware asks again, later and later, and
shows an error at last; what it has in flash stays. So whatever may pass by itself gets a status of
its own. A device that does not say who it is gets 200 and ``"success":false``, as from servers.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import attrs
import msgspec

from relayd.core.refusals import Refusal
from relayd.service.http.refusals import HttpFault

RETRY_S: Final = 5.0
"""After what a device is told to ask again where nothing better is known."""


@attrs.frozen
class OtaFault(HttpFault):
    """A refusal whose body is the protocol's own."""

    def body(self) -> bytes:
        """``{"success":false,"message":…}``."""
        return msgspec.json.encode({"success": False, "message": self.message})


def ota_fault(refusal: Refusal | HttpFault) -> OtaFault:
    """The same refusal for a device."""
    return OtaFault(
        refusal.status,
        str(refusal.code),
        refusal.message,
        refusal.param,
        refusal.retry_after_s,
        refusal.headers,
    )


UNIDENTIFIED: Final = OtaFault(HTTPStatus.OK, "device_unidentified", "request error.")
"""The very words of servers; which of the two ids is missing, or is none, is not told."""

NOT_SERVED: Final = OtaFault(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "no_account",
    "No server of this device can be asked now; try again later.",
    retry_after_s=RETRY_S,
)
BUSY: Final = OtaFault(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "overload",
    "Too many devices ask at once; try again later.",
    retry_after_s=RETRY_S,
)
NOT_KEPT: Final = OtaFault(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "store_unavailable",
    "What the server said could not be kept; try again later.",
    retry_after_s=RETRY_S,
)
UPSTREAM_FAILED: Final = OtaFault(
    HTTPStatus.BAD_GATEWAY,
    "upstream_refused",
    "The server of this device gave no answer that is of use; try again later.",
    retry_after_s=RETRY_S,
)


def too_often(wait_s: float) -> OtaFault:
    """The address asks too often: an address may stand for many devices, and still has a limit."""
    return OtaFault(
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate_limit_exceeded",
        "This address asks too often; try again later.",
        retry_after_s=wait_s,
    )
