"""How a connection to Spark is signed: HMAC-SHA256, in the URL.

Source: the vendor's page general_url_authentication.html. Three lines are signed, without a line
end behind the last; the key is the APISecret as it is spelled (it looks like base64 and is none).
The date must be within five minutes of the upstream's clock.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import re
from typing import Final
from urllib.parse import urlencode

SKEW_MAX_S: Final = 300
"""How far off a date may be."""

# RFC 9110 section 5.6.7, and "UTC", as some gateways in front of the vendor's have it.
_DATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] "
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) 20[0-9]{2} "
    r"[0-2][0-9]:[0-5][0-9]:[0-5][0-9] (?:GMT|UTC)"
)


def http_date(wall: float) -> str:
    """``wall``, in seconds since the epoch, as a Date header has it."""
    return email.utils.formatdate(wall, usegmt=True)


def signature(secret: str, host: str, date: str, path: str, *, method: str = "GET") -> str:
    """The signature of one request, 44 characters of base64.

    Args:
        host: As in the Host header, with the port where it is not the scheme's own.
        date: As :func:`http_date` gives it.
        path: Without a query.
    """
    signed = f"host: {host}\ndate: {date}\n{method} {path} HTTP/1.1"
    digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def authorization(key: str, signed: str) -> str:
    """The parameter that presents the APIKey with a signature."""
    origin = (
        f'api_key="{key}", algorithm="hmac-sha256", headers="host date request-line",'
        f' signature="{signed}"'
    )
    return base64.b64encode(origin.encode()).decode()


def signed_target(key: str, secret: str, host: str, path: str, wall: float) -> str:
    """Path and query of a connection that is asked for at ``wall``. A secret, for five minutes."""
    date = http_date(wall)
    signed = authorization(key, signature(secret, host, date, path))
    return f"{path}?{urlencode({'authorization': signed, 'date': date, 'host': host})}"


def clock_skew_s(date: str | None, wall: float) -> float | None:
    """How far the clock behind a Date header is ahead of ``wall``; ``None`` for no such header."""
    if date is None or not _DATE.fullmatch(date):
        return None
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - wall
    except (ValueError, OverflowError):
        return None  # a 31st of February
