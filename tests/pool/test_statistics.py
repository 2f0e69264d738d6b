"""PgBouncer's words."""

from __future__ import annotations

import attrs

from relayd.pool.slots import State
from relayd.pool.statistics import AccountPool


def test_every_state_with_a_socket_has_its_number() -> None:
    """``active``, ``idle``, ``tested`` and ``login``, as ``SHOW POOLS`` has them."""
    names = {field.name for field in attrs.fields(AccountPool) if field.name.startswith("sv_")}

    assert names == {f"sv_{state}" for state in State if state is not State.CLOSED}
