"""Which sockets a session may share: what its upstream is told of it when they are opened.

A socket's handshake cannot be changed afterwards. So whatever of a client's headers travels on is
part of the identity of the sockets it may use, and nothing else of them travels. Codex's turn
metadata changes with every turn and is left out for that; it stands in the requests as well.
"""

from __future__ import annotations

from relayd.config.accounts import UpstreamMode
from relayd.config.snapshot import Account
from relayd.pool.identity import Identity, credential_of
from relayd.session.admission import Grant
from relayd.session.travelling import SESSION_HEADERS


def session_name(headers: tuple[tuple[str, str], ...]) -> str | None:
    """What the client calls its session, if it says so."""
    said = dict(headers)
    return next((said[name] for name in SESSION_HEADERS if name in said), None)


def identity_of(grant: Grant, account: Account, session_id: str) -> Identity:
    """Which of the account's sockets a session may use.

    Args:
        grant: Whose it is, and its travelling headers.
        account: Where it goes.
        session_id: Its own name, for an account whose sockets are not shared.
    """
    return Identity(
        tenant=grant.key.tenant,
        account=account.name,
        credential=credential_of(account),
        headers=grant.forward_headers,
        session=session_id if account.websocket is UpstreamMode.DEDICATED else None,
    )
