"""Which sockets a session may share."""

from __future__ import annotations

import attrs

from relayd.config.accounts import UpstreamMode
from relayd.config.providers import Dialect, Provider
from relayd.config.secret import Secret
from relayd.config.snapshot import Account, Key
from relayd.session.admission import Grant
from relayd.session.responses.identity import identity_of, session_name

KEY = Key(name="dev", tenant="t", digest=bytes(32))
GRANT = Grant(
    key=KEY, dialect=Dialect.RESPONSES, client_address="::1", granted_at=0.0, wall_granted_at=0.0
)
MAIN = Account(name="main", provider=Provider.OPENAI, api_key=Secret("first-secret"))


def test_clients_without_headers_share_their_tenants_sockets() -> None:
    other = attrs.evolve(GRANT, key=attrs.evolve(KEY, name="other"))
    stranger = attrs.evolve(GRANT, key=attrs.evolve(KEY, tenant="u"))

    assert identity_of(GRANT, MAIN, "sess_1") == identity_of(other, MAIN, "sess_2")
    assert identity_of(GRANT, MAIN, "sess_1") != identity_of(stranger, MAIN, "sess_1")


def test_what_travels_on_and_what_opens_a_socket_is_part_of_it() -> None:
    named = attrs.evolve(GRANT, forward_headers=(("session-id", "x"),))
    another_key = attrs.evolve(MAIN, api_key=Secret("two"))
    mine = identity_of(GRANT, MAIN, "sess_1")

    assert identity_of(named, MAIN, "sess_1") != mine
    assert identity_of(GRANT, another_key, "sess_1") != mine
    assert "first-secret" not in repr(mine)


def test_a_dedicated_socket_is_the_sessions_own() -> None:
    dedicated = attrs.evolve(MAIN, websocket=UpstreamMode.DEDICATED)

    assert identity_of(GRANT, dedicated, "sess_1").session == "sess_1"
    assert identity_of(GRANT, MAIN, "sess_1").session is None


def test_a_session_is_called_what_its_best_header_says() -> None:
    assert session_name(()) is None
    assert session_name((("openai-beta", "x"),)) is None
    assert session_name((("thread-id", "t"), ("session_id", "old"))) == "old"
    assert session_name((("session_id", "old"), ("session-id", "new"))) == "new"
