"""docs/openapi.json says what there is, and what is answered is what it says."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import attrs
import pytest

from relayd.config.mistakes import Mistake
from relayd.config.schema import AccountSettings, KeySettings, Settings
from relayd.config.secret import KeyDigest
from relayd.core.hold import HoldBudget
from relayd.observe.metrics_text import TextFormat
from relayd.protocol.directions import ClientFlow
from relayd.routing.classify import Failure, FailureKind
from relayd.service.admin.document import PATH, document, render
from relayd.service.admin.readiness import Readiness
from relayd.service.admin.routes import DESCRIBED as ALL
from relayd.service.difference import ReloadOutcome
from relayd.session.attempts import AttemptFailed
from tests.service.admin.schemas import faults
from tests.service.admin.stage import ACCOUNTS, KEY, Stage
from tests.service.http.stage import Reply
from tests.service.measured import pool_of

FATAL = AttemptFailed(Failure(FailureKind.FATAL, "invalid_api_key", "the key is wrong"))
DESCRIBED: Any = document()


def described(method: str, pattern: str, reply: Reply) -> dict[str, Any]:
    """The schema of this answer."""
    responses = DESCRIBED["paths"][pattern][method.lower()]["responses"]
    content = responses[str(reply.status)]["content"]
    schema: dict[str, Any] = content[reply.headers["content-type"]]["schema"]
    return schema


def check(method: str, pattern: str, reply: Reply) -> dict[str, Any]:
    """The answer's JSON, which is as described."""
    value: dict[str, Any] = json.loads(reply.body)
    assert faults(value, described(method, pattern, reply), DESCRIBED) == []
    return value


def test_the_document_is_up_to_date() -> None:
    assert PATH.read_text(encoding="utf-8") == render(), "run `make fix`"


def test_it_has_every_route_and_no_other() -> None:
    there = {
        (method.upper(), pattern)
        for pattern, methods in DESCRIBED["paths"].items()
        for method in methods
    }

    assert there == {(each.method, each.pattern) for each in ALL}


def test_every_parameter_of_a_path_and_of_a_query_is_described() -> None:
    for each in ALL:
        operation = DESCRIBED["paths"][each.pattern][each.method.lower()]
        named = [(parameter["name"], parameter["in"]) for parameter in operation["parameters"]]
        in_path = [part[1:-1] for part in each.pattern.split("/") if part.startswith("{")]

        assert named == [
            *((name, "path") for name in in_path),
            *((parameter.name, "query") for parameter in each.parameters),
        ]
        assert operation["operationId"] == each.name
        assert ("requestBody" in operation) is (each.body is not None)


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DESCRIBED)
    schemas = DESCRIBED["components"]["schemas"]

    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert referred == set(schemas)


def test_money_is_a_number() -> None:
    cost = DESCRIBED["components"]["schemas"]["SessionView"]["properties"]["cost_usd"]

    assert cost["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert '"decimal"' not in json.dumps(DESCRIBED)


def test_the_judge_finds_faults() -> None:
    schema = {"$ref": "#/components/schemas/Live"}

    assert faults({"live": True}, schema, DESCRIBED) == []
    assert faults({"live": 1}, schema, DESCRIBED) != []
    assert faults({}, schema, DESCRIBED) != []
    assert faults({"live": True, "more": 1}, schema, DESCRIBED) != []


@pytest.fixture
def full(stage: Stage) -> Stage:
    """A stage on which every field of every answer has something to say."""
    stage.session(1).client.flow = ClientFlow(message_max_bytes=1, hold=HoldBudget(1), reader=None)
    other = stage.session(2, model=None, account="echo", dialect="passthrough")
    other.reporter.meter.cost_usd = Decimal("0.001500000")
    other.reporter.meter.tokens_in = 7
    stage.session(3, model=None, account="", dialect="responses")
    assert stage.desk is not None
    stage.desk.device()
    silent = stage.desk.device("24:0a:c4:00:00:018", account="", hello_ms=None)
    silent.answer = b'{"error":{"code":-32001,"message":"not in time"}}'
    stage.pools = (pool_of("spare"), pool_of("talk", cl_waiting=2, maxwait_s=0.25))
    stage.keys = (KEY, attrs.evolve(KEY, name="rich", digest=bytes(32), budget_nano=10**9))
    stage.settings = Settings(
        keys=(KeySettings(name="dev", secret=KeyDigest.of("canary-of-client")),),
        accounts=(AccountSettings(name="talk", provider=ACCOUNTS[0].provider),),
    )
    return stage


DEVICE = "/admin/v1/devices/24:0a:c4:00:00:01"
OF_DEVICE = "/admin/v1/devices/{device_id}"


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/livez", "/livez"),
        ("/readyz", "/readyz"),
        ("/readyz?verbose", "/readyz"),
        ("/admin/v1/sessions", "/admin/v1/sessions"),
        ("/admin/v1/sessions?limit=1", "/admin/v1/sessions"),
        ("/admin/v1/sessions?key=nobody", "/admin/v1/sessions"),
        ("/admin/v1/sessions?limit=0", "/admin/v1/sessions"),
        ("/admin/v1/sessions/sess_1", "/admin/v1/sessions/{session_id}"),
        ("/admin/v1/sessions/sess_2", "/admin/v1/sessions/{session_id}"),
        ("/admin/v1/sessions/sess_3", "/admin/v1/sessions/{session_id}"),
        ("/admin/v1/sessions/sess_4", "/admin/v1/sessions/{session_id}"),
        ("/admin/v1/accounts", "/admin/v1/accounts"),
        ("/admin/v1/pools", "/admin/v1/pools"),
        ("/admin/v1/pools?limit=1", "/admin/v1/pools"),
        ("/admin/v1/keys", "/admin/v1/keys"),
        ("/admin/v1/config", "/admin/v1/config"),
        ("/admin/v1/devices", "/admin/v1/devices"),
        ("/admin/v1/devices?limit=1", "/admin/v1/devices"),
        (f"{DEVICE}/tools", f"{OF_DEVICE}/tools"),
        (f"{DEVICE}9/tools", f"{OF_DEVICE}/tools"),
    ],
)
async def test_what_is_looked_at_is_as_described(full: Stage, path: str, pattern: str) -> None:
    check("GET", pattern, await full.ask("GET", path))


async def test_what_is_not_ready_is_as_described(full: Stage) -> None:
    full.readiness = Readiness(draining=True, overloaded=True, ledger_failing=True)

    reply = await full.ask("GET", "/readyz?verbose")

    assert reply.status == 503
    check("GET", "/readyz", reply)


@pytest.mark.parametrize(
    ("path", "pattern", "status"),
    [
        ("/admin/v1/sessions/sess_1/kill", "/admin/v1/sessions/{session_id}/kill", 202),
        ("/admin/v1/sessions/sess_9/kill", "/admin/v1/sessions/{session_id}/kill", 404),
        ("/admin/v1/accounts/talk/enable", "/admin/v1/accounts/{name}/enable", 200),
        ("/admin/v1/accounts/echo/enable", "/admin/v1/accounts/{name}/enable", 200),
        ("/admin/v1/accounts/asleep/enable", "/admin/v1/accounts/{name}/enable", 409),
        ("/admin/v1/accounts/nobody/enable", "/admin/v1/accounts/{name}/enable", 404),
        ("/admin/v1/accounts/talk/disable", "/admin/v1/accounts/{name}/disable", 200),
        ("/admin/v1/drain", "/admin/v1/drain", 202),
        ("/admin/v1/reload", "/admin/v1/reload", 200),
        (f"{DEVICE}/tools/self.lamp", f"{OF_DEVICE}/tools/{{tool}}", 200),
        (f"{DEVICE}/tools/self.reboot", f"{OF_DEVICE}/tools/{{tool}}", 403),
        (f"{DEVICE}9/tools/self.lamp", f"{OF_DEVICE}/tools/{{tool}}", 404),
        (f"{DEVICE}8/tools/self.lamp", f"{OF_DEVICE}/tools/{{tool}}", 504),
        (f"{DEVICE}8/reboot", f"{OF_DEVICE}/reboot", 202),
        (f"{DEVICE}/kick", f"{OF_DEVICE}/kick", 202),
        (f"{DEVICE}/alert", f"{OF_DEVICE}/alert", 400),
    ],
)
async def test_what_is_done_is_told_as_described(
    full: Stage, path: str, pattern: str, status: int
) -> None:
    full.connector.failures["talk"] = FATAL

    reply = await full.ask("POST", path)

    assert reply.status == status
    check("POST", pattern, reply)


async def test_a_disabled_account_and_a_refused_reload_are_as_described(full: Stage) -> None:
    full.connector.failures["talk"] = FATAL
    await full.ask("POST", "/admin/v1/accounts/talk/enable")
    full.outcome = ReloadOutcome(mistakes=(Mistake("limits", "no"), Mistake("", "x", "p.toml")))

    accounts = check("GET", "/admin/v1/accounts", await full.ask("GET", "/admin/v1/accounts"))
    reply = await full.ask("POST", "/admin/v1/reload")
    refused = check("POST", "/admin/v1/reload", reply)

    assert accounts["accounts"][0]["reason"] == "invalid_api_key"
    assert accounts["accounts"][0]["retry_at"] is not None
    assert (reply.status, len(refused["mistakes"])) == (422, 2)


async def test_metrics_have_the_types_that_are_described(full: Stage) -> None:
    for accept, form in (
        ("*/*", TextFormat.PLAIN),
        ("application/openmetrics-text; version=1.0.0", TextFormat.OPENMETRICS),
    ):
        reply = await full.ask("GET", "/metrics", f"Accept: {accept}")

        assert reply.headers["content-type"] == form.value
        assert described("GET", "/metrics", reply) == {"type": "string"}
        assert b"relayd_sessions 3\n" in reply.body


async def test_what_is_malformed_is_told_as_described(full: Stage) -> None:
    for query in ("x=1", "%zz=1", "verbose"):
        reply = await full.ask("GET", f"/admin/v1/pools?{query}")

        assert reply.status == 400
        check("GET", "/admin/v1/pools", reply)
