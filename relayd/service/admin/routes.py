"""The table of routes: what there is, what it takes and what it answers.

The listener serves this table, ``docs/openapi.json`` is written from it, and the tests ask each
route in it without a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from relayd.service.admin.device_shapes import (
    Alert,
    AlertedAll,
    DevicePage,
    DeviceTold,
    ToolAnswer,
    ToolCall,
    ToolList,
)
from relayd.service.admin.shapes import (
    LIMIT_MAX,
    AccountChanged,
    AccountPage,
    ConfigView,
    Draining,
    ErrorAnswer,
    KeyPage,
    Killed,
    Live,
    PoolPage,
    Ready,
    ReloadDone,
    SessionPage,
    SessionView,
    Shape,
)


@attrs.frozen
class Parameter:
    """A query parameter.

    Attributes:
        kind: Its JSON type.
        is_flag: Whether it takes no value.
    """

    name: str
    meaning: str
    kind: str = "string"
    is_flag: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen(kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        name: In snake case; the handlers are found by it.
        summary: One line.
        answers: By status, but for those that every operation may give; ``None`` is the
            Prometheus exposition.
        parameters: Of the query.
        body: What the request says, if anything.
        is_probe: Whether it is served without the rest of relayd.
    """

    method: str
    pattern: str
    name: str
    summary: str
    answers: Mapping[int, type[Shape] | None]
    parameters: tuple[Parameter, ...] = ()
    body: type[Shape] | None = None
    is_probe: bool = False


_PAGE: Final = (
    Parameter("limit", f"Items in the page, 1 to {LIMIT_MAX}.", "integer"),
    Parameter("cursor", "`next_cursor` of the page before."),
)
_VERBOSE: Final = Parameter(
    "verbose", "Name every check, its finding and its remedy.", is_flag=True
)
_FILTERS: Final = (
    Parameter("key", "Only sessions of the key of this name."),
    Parameter("account", "Only sessions at this account."),
    Parameter("dialect", "Only sessions that speak this dialect."),
)


def _get(
    pattern: str,
    name: str,
    summary: str,
    shape: type[Shape] | None,
    parameters: tuple[Parameter, ...] = (),
    *,
    may_be_missing: bool = False,
) -> Operation:
    answers: dict[int, type[Shape] | None] = {200: shape}
    if may_be_missing:
        answers[404] = ErrorAnswer
    return Operation(
        method="GET",
        pattern=pattern,
        name=name,
        summary=summary,
        answers=MappingProxyType(answers),
        parameters=parameters,
    )


def _post(
    pattern: str,
    name: str,
    summary: str,
    answers: dict[int, type[Shape] | None],
    parameters: tuple[Parameter, ...] = (),
    body: type[Shape] | None = None,
) -> Operation:
    return Operation(
        method="POST",
        pattern=pattern,
        name=name,
        summary=summary,
        answers=MappingProxyType(answers),
        parameters=parameters,
        body=body,
    )


OPERATIONS: Final = (
    Operation(
        method="GET",
        pattern="/livez",
        name="live",
        summary="Whether relayd runs. It says yes while relayd drains, too.",
        answers=MappingProxyType({200: Live}),
        is_probe=True,
    ),
    Operation(
        method="GET",
        pattern="/readyz",
        name="ready",
        summary="Whether new connections are welcome.",
        answers=MappingProxyType({200: Ready, 503: Ready}),
        parameters=(
            Parameter("verbose", "Name every check, its finding and its remedy.", is_flag=True),
        ),
        is_probe=True,
    ),
    _get("/metrics", "metrics", "All metrics, as Prometheus text.", None),
    _get(
        "/admin/v1/sessions",
        "list_sessions",
        "The running sessions, the oldest first.",
        SessionPage,
        (*_FILTERS, *_PAGE),
    ),
    _get(
        "/admin/v1/sessions/{session_id}",
        "show_session",
        "One running session.",
        SessionView,
        may_be_missing=True,
    ),
    _post(
        "/admin/v1/sessions/{session_id}/kill",
        "kill_session",
        "End a session at once.",
        {202: Killed, 404: ErrorAnswer},
    ),
    _get(
        "/admin/v1/accounts",
        "list_accounts",
        "The accounts, and how each is doing.",
        AccountPage,
        _PAGE,
    ),
    _post(
        "/admin/v1/accounts/{name}/enable",
        "enable_account",
        "Use an account, forget what stands against it, and dial it at once.",
        {200: AccountChanged, 404: ErrorAnswer, 409: ErrorAnswer},
    ),
    _post(
        "/admin/v1/accounts/{name}/disable",
        "disable_account",
        "Give an account no new session, until the next reload or restart.",
        {200: AccountChanged, 404: ErrorAnswer},
    ),
    _get(
        "/admin/v1/pools",
        "list_pools",
        "The sockets kept to upstreams, and who uses them.",
        PoolPage,
        _PAGE,
    ),
    _get(
        "/admin/v1/keys",
        "list_keys",
        "The clients' keys: their limits, and what each uses. Never a key itself.",
        KeyPage,
        _PAGE,
    ),
    _get(
        "/admin/v1/config",
        "show_config",
        "The configuration in force, without its secrets.",
        ConfigView,
    ),
    _post(
        "/admin/v1/drain",
        "drain",
        "Accept nothing new, and exit when the sessions have ended: as SIGTERM.",
        {202: Draining},
    ),
    _post(
        "/admin/v1/reload",
        "reload",
        "Read the configuration again; a mistaken one changes nothing: as SIGHUP.",
        {200: ReloadDone, 409: ErrorAnswer, 422: ErrorAnswer},
    ),
)

_TENANT: Final = Parameter("tenant", "Whose devices are meant; without it everybody's.")
_DEVICE: Final = "/admin/v1/devices/{device_id}"
_TOLD: Final[dict[int, type[Shape] | None]] = {
    202: DeviceTold,
    404: ErrorAnswer,
    409: ErrorAnswer,
}
_ASKED: Final[dict[int, type[Shape] | None]] = {404: ErrorAnswer, 409: ErrorAnswer}

DEVICE_OPERATIONS: Final = (
    _get(
        "/admin/v1/devices",
        "list_devices",
        "The devices that are here, in the order in which they came.",
        DevicePage,
        (_TENANT, *_PAGE),
    ),
    _post(
        "/admin/v1/devices/alert",
        "alert_devices",
        "Show a message on every device that is here.",
        {202: AlertedAll},
        (_TENANT,),
        Alert,
    ),
    Operation(
        method="GET",
        pattern=f"{_DEVICE}/tools",
        name="list_device_tools",
        summary="The tools of a device; it is asked where it has not told its server yet.",
        answers=MappingProxyType({200: ToolList, **_ASKED, 502: ErrorAnswer}),
        parameters=(_TENANT,),
    ),
    _post(
        f"{_DEVICE}/tools/{{tool}}",
        "call_device_tool",
        "Call a tool of a device, if xiaozhi.tools_allowed names it.",
        {200: ToolAnswer, **_ASKED, 502: ErrorAnswer, 504: ErrorAnswer},
        (_TENANT,),
        ToolCall,
    ),
    _post(f"{_DEVICE}/kick", "kick_device", "End a device's session.", _TOLD, (_TENANT,)),
    _post(f"{_DEVICE}/reboot", "reboot_device", "Let a device start anew.", _TOLD, (_TENANT,)),
    _post(
        f"{_DEVICE}/alert",
        "alert_device",
        "Show a message on a device.",
        _TOLD,
        (_TENANT,),
        Alert,
    ),
)
"""What devices are asked, with handlers of their own (:mod:`relayd.service.admin.devices`)."""

DESCRIBED: Final = (*OPERATIONS, *DEVICE_OPERATIONS)
"""All there is."""
