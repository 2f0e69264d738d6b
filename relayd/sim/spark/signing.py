"""Who is at the door: the signature that is part of a URL, checked as the vendor's gateway does.

Source: general_url_authentication.html for what is signed and for the refusals. What varies
between working clients is taken: the order of the parameters, spaces around them, ``username`` for
``api_key``, a leading ``hmac``, UTC for GMT.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

import attrs

SKEW_MAX_S: Final = 300.0

_PARAMETER: Final = re.compile(r'([A-Za-z_-]+)\s*=\s*"([^"]*)"')
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_DATE: Final = re.compile(
    rf"(?:{'|'.join(_DAYS)}), (\d\d) ({'|'.join(_MONTHS)}) (\d{{4}}) "
    r"(\d\d):(\d\d):(\d\d) (?:GMT|UTC)",
    re.ASCII,
)
_SIGNED: Final = frozenset({"host", "date", "request-line"})


@attrs.frozen(kw_only=True)
class Credential:
    """An application as the vendor's console shows it.

    Attributes:
        app_id: Of up to 8 characters.
        api_key: Names it at the door.
        api_secret: Signs; it looks like base64 and is used as it stands.
        api_password: Opens the HTTP API.
    """

    app_id: str
    api_key: str
    api_secret: str
    api_password: str


@attrs.frozen
class Refusal:
    """A handshake that is answered with an HTTP error.

    Attributes:
        status: The HTTP status.
        message: The body's only member.
    """

    status: int
    message: str


UNAUTHORIZED: Final = Refusal(401, "Unauthorized")
UNVERIFIABLE: Final = Refusal(401, "HMAC signature cannot be verified")
UNKNOWN_KEY: Final = Refusal(401, "HMAC signature cannot be verified: fail to retrieve credential")
MISMATCH: Final = Refusal(401, "HMAC signature does not match")
BAD_DATE: Final = Refusal(
    403,
    "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC "
    "Authentication",
)
BAD_ADDRESS: Final = Refusal(403, "Your IP address is not allowed")
NO_ROUTE: Final = Refusal(404, "no Route matched with those values")


def credential_of(
    target: str, host: str, credentials: Iterable[Credential], *, wall: float, method: str = "GET"
) -> Credential | Refusal:
    """Whose signature ``target`` carries, or why it opens nothing.

    Args:
        target: The request line's target: path and query.
        host: The ``Host`` header, which is what must have been signed, port and all.
        credentials: The applications there are.
        wall: The gateway's clock, in Unix seconds.
        method: The request line's method.
    """
    url = urlsplit(target)
    query = parse_qs(url.query)
    given = {name: query.get(name, [""])[0] for name in ("authorization", "date")}
    if not given["authorization"]:
        return UNAUTHORIZED
    signed_at = unix_time(given["date"])
    if signed_at is None or abs(wall - signed_at) > SKEW_MAX_S:
        return BAD_DATE
    parameters = _parameters(given["authorization"])
    key = parameters.get("api_key") or parameters.get("username")
    lines = parameters.get("headers", "").split()
    if (
        key is None
        or parameters.get("algorithm") != "hmac-sha256"
        or len(lines) != len(_SIGNED)
        or set(lines) != _SIGNED
        or "signature" not in parameters
    ):
        return UNVERIFIABLE
    known = next((one for one in credentials if one.api_key == key), None)
    if known is None:
        return UNKNOWN_KEY
    says = {
        "host": f"host: {host}",
        "date": f"date: {given['date']}",
        "request-line": f"{method} {url.path} HTTP/1.1",
    }
    expected = signature("\n".join(says[line] for line in lines), known.api_secret)
    # As bytes: text that is not ASCII cannot be compared in constant time.
    is_same = hmac.compare_digest(expected.encode(), parameters["signature"].encode())
    return known if is_same else MISMATCH


def signature(text: str, secret: str) -> str:
    """The signature of ``text``, 44 characters of base64."""
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def unix_time(date: str) -> int | None:
    """An RFC 1123 date in GMT as Unix seconds; ``None`` for anything else."""
    found = _DATE.fullmatch(date)
    if found is None:
        return None
    day, month, year, hour, minute, second = found.groups()
    parts = (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
    try:
        return calendar.timegm((*parts, 0, 0, 0))
    except ValueError:  # the year 0
        return None


def _parameters(authorization: str) -> Mapping[str, str]:
    """What is inside the base64; nothing where it is none."""
    try:
        # A "+" that a client did not escape has become a space.
        inner = base64.b64decode(authorization.replace(" ", "+"), validate=True).decode()
    except ValueError:  # no base64, or no UTF-8 in it
        return {}
    return {name.lower(): value for name, value in _PARAMETER.findall(inner)}
