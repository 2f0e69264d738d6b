"""What the turns of one session have in common."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from relayd.config.snapshot import Snapshot
from relayd.session.admission import Grant
from relayd.session.responses.accounting import Purse
from relayd.session.responses.holders import Holders
from relayd.session.responses.shared import Shared


@attrs.frozen(kw_only=True)
class Desk:
    """One per session.

    Attributes:
        session_id: The session's name, or the HTTP request's.
        snapshot: The configuration that it keeps.
        say: Sends one event to the client.
    """

    shared: Shared
    grant: Grant
    session_id: str
    snapshot: Snapshot
    purse: Purse
    holders: Holders
    say: Callable[[bytes], None]
