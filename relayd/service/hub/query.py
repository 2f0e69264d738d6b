"""What the query of a request to the hub may hold, beside a token."""

from __future__ import annotations

from collections.abc import Mapping

from relayd.service.admin import paging
from relayd.service.http.request import Request
from relayd.session.hub.identity import ACCESS_TOKEN


def parameters(request: Request, known: tuple[str, ...]) -> Mapping[str, str]:
    """As :func:`~relayd.service.admin.paging.parameters`: each known, and there once.

    A token in the query has been looked at by who found out who asks, and is left out.
    """
    given = paging.parameters(request, (*known, ACCESS_TOKEN))
    return {name: value for name, value in given.items() if name != ACCESS_TOKEN}
