"""Who and where: what every event of one session says."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class SessionFacts:
    """Who and where, the same for every event of one session."""

    session_id: str
    dialect: str
    key: str
    tenant: str
    account: str
    model: str | None
