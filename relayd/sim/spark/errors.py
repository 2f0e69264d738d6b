"""The errors of the Spark API: every code that its documents name, and what it says with it.

Source: 接口说明.html and the web SDK's page for the codes; reports of users for the words of 10003,
11200 and 11202.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

JsonObject = dict[str, object]

CLOSE_REASON: Final = "close this ws conn"
"""The reason of the Close (1000) behind an error."""

MESSAGES: Final[Mapping[int, str]] = {
    10000: "upgrade to ws error",
    10001: "read user message from ws error",
    10002: "send message to user by ws error",
    10003: "ClientMsgError:(message format)",
    10004: "user data schema error",
    10005: "user parameter value error",
    10006: "user concurrency error: the same user is connected elsewhere",
    10007: "user flow limited: the previous answer is not finished",
    10008: "service capacity is insufficient, please contact the staff",
    10009: "connect to the engine failed",
    10010: "receive data from the engine error",
    10011: "send data to the engine error",
    10012: "engine internal error",
    10013: "input content audit failed, suspected of violation, please adjust it",
    10014: "output content involves sensitive information, the answer is withheld",
    10015: "appid is in the blacklist",
    10016: "appid authorization error: not opened, no tokens left, or too much at once",
    10017: "clear history failed",
    10018: "no data for 5 minutes but pings",
    10019: "this session tends to violate the rules, please do not go on with it",
    10021: "input audit failed",
    10110: "service is busy, please try again later",
    10163: "engine schema check failed",
    10222: "engine network error",
    10223: "LB can not find engine node",
    10907: "tokens exceed the limit of the model",
    11200: "AppIdNoAuthError",
    11201: "licc limit: day flow control",
    11202: "licc limit: second flow control",
    11203: "licc limit: concurrency flow control",
}
"""What a client may have to deal with, by ``header.code``."""

UNDOCUMENTED: Final = 10999
"""A code that no page names."""


@attrs.frozen
class ServiceError:
    """An error in band.

    Attributes:
        code: ``header.code``.
        message: ``header.message``.
    """

    code: int
    message: str

    def event(self, sid: str) -> JsonObject:
        """As the frame that ends its socket, without a payload."""
        return {
            "header": {"code": self.code, "message": self.message, "sid": sid, "status": 2},
        }


class Rejected(Exception):
    """A request that is answered with an error.

    Attributes:
        error: The answer.
    """

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.code, error.message)
        self.error = error


def error(code: int, detail: str = "") -> ServiceError:
    """The error of ``code``, with what is wrong where that is known."""
    message = MESSAGES.get(code, "unknown error")
    return ServiceError(code, f"{message}: {detail}" if detail else message)


INVALID_DOMAIN: Final = ServiceError(
    10003, "ClientMsgError:(error parsing the client message) invalid model domain"
)
"""The domain is not one of the path's."""
