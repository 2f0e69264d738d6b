"""What the turns of one session have in common."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs

from relayd.config.dialects import ResponsesSettings
from relayd.config.providers import Dialect, Provider
from relayd.config.secret import Secret
from relayd.config.snapshot import Account, Key
from relayd.session.admission import Grant
from relayd.session.responses.desk import Desk
from relayd.session.responses.identity import identity_of

KEY = Key(name="dev", tenant="t", digest=bytes(32), models=("gpt-*", "o3"))
GRANT = Grant(
    key=KEY,
    dialect=Dialect.RESPONSES,
    client_address="::1",
    granted_at=0.0,
    wall_granted_at=0.0,
    forward_headers=(("session-id", "x"),),
)
MAIN = Account(name="main", provider=Provider.OPENAI, api_key=Secret("first-secret"))


def desk() -> Desk:
    settings = SimpleNamespace(
        dialects=SimpleNamespace(responses=ResponsesSettings()),
        limits=SimpleNamespace(stall_s=30.0),
    )
    unused: Any = None
    holders: Any = SimpleNamespace(nursery=None)
    snapshot: Any = SimpleNamespace(settings=settings)
    return Desk(
        shared=unused,
        grant=GRANT,
        session_id="sess_1",
        snapshot=snapshot,
        purse=unused,
        holders=holders,
        say=lambda event: None,
    )


def test_each_account_has_its_identity_whichever_was_asked_for_before() -> None:
    common = desk()
    changed = attrs.evolve(MAIN, api_key=Secret("two"))

    for account in (MAIN, MAIN, changed, changed, MAIN):
        assert common.identity(account) == identity_of(GRANT, account, "sess_1")
    assert common.identity(MAIN) is common.identity(MAIN)


def test_a_model_is_permitted_or_not_whichever_was_asked_for_before() -> None:
    common = desk()

    for model in ("gpt-5", "gpt-5", "claude", "claude", "o3", "gpt-5", "claude"):
        assert common.permits(model) is KEY.permits_model(model)
    assert not common.permits("claude")


def test_a_session_may_have_a_name() -> None:
    assert desk().session_name == "x"
