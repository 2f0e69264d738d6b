from __future__ import annotations

import pytest

from relayd.config.providers import Dialect
from relayd.config.schema import ServerSettings, Settings
from relayd.config.snapshot import Snapshot
from relayd.core.refusals import RefusalCode
from relayd.dialect.hub_event import Position
from relayd.dialect.hub_topics import parse_selector
from relayd.hub.shared import Wire
from relayd.protocol.head import HeadReader
from relayd.protocol.upgrade import check_upgrade, response_101
from relayd.session.admission import RefusedAdmission
from relayd.session.hub.admission import HubGrant, admit, refused_topic
from tests.faults.wire import KEY as HANDSHAKE_KEY
from tests.faults.wire import upgrade
from tests.session.hub.signing import NOW, token
from tests.session.hub.test_identity import KEYS, OPERATOR, SNAPSHOT, USER

CENTRIFUGE = "/connection/websocket"


def ask(
    path: str, key: str | None = USER, snapshot: Snapshot = SNAPSHOT, **headers: str
) -> HubGrant | RefusedAdmission:
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        lines["Authorization"] = f"Bearer {key}"
    head = HeadReader(65536).feed(upgrade(path, lines))
    assert head is not None
    return admit(check_upgrade(head), "127.0.0.1", snapshot, 5.0, NOW)


def granted(answer: HubGrant | RefusedAdmission) -> HubGrant:
    assert isinstance(answer, HubGrant), answer
    return answer


def refused(answer: HubGrant | RefusedAdmission) -> RefusalCode:
    assert isinstance(answer, RefusedAdmission), answer
    assert answer.dialect is Dialect.HUB
    return answer.code


@pytest.mark.parametrize("path", ["/api/v1/ws", "/ws"])
def test_who_asks_for_nothing_gets_all_it_may_see(path: str) -> None:
    found = granted(ask(path))
    assert found.wire is Wire.COUNCIL
    assert found.identity is not None
    assert found.identity.name == found.grant.key.name == "user"
    assert found.wanted is not None
    assert [each.text for each in found.wanted.topics] == ["*"]
    assert found.wanted.filter.lets_all
    assert (found.grant.granted_at, found.grant.wall_granted_at) == (5.0, NOW)


def test_the_query_says_what_is_wanted() -> None:
    asked = "topics=workflow:a,workflow:b*&events=token_*&except=token_usage"
    found = granted(ask(f"/ws?{asked}&since=0123456789abcdef@7&session_id=x"))
    assert found.wanted is not None
    assert [each.text for each in found.wanted.topics] == ["workflow:a", "workflow:b*", "session:x"]
    assert found.wanted.filter.passes("token_stream")
    assert not found.wanted.filter.passes("token_usage")
    assert found.wanted.since == Position("0123456789abcdef", 7, overall=True)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("topics=nothing", RefusalCode.INVALID_PARAMETER),
        ("since=yesterday", RefusalCode.INVALID_PARAMETER),
        ("events=a%20b", RefusalCode.INVALID_PARAMETER),
        ("topics=" + ",".join(f"session:{n}" for n in range(129)), RefusalCode.INVALID_PARAMETER),
        ("topics=ops", RefusalCode.TOPIC_NOT_ALLOWED),
        ("topics=session:x,tenant:other", RefusalCode.TOPIC_NOT_ALLOWED),
    ],
)
def test_a_query_that_cannot_be_met_is_refused(query: str, code: RefusalCode) -> None:
    answer = ask(f"/ws?{query}")
    assert refused(answer) is code
    assert isinstance(answer, RefusedAdmission)
    assert answer.key_name == "user"


def test_an_operator_may_follow_everything() -> None:
    assert granted(ask("/ws?topics=ops,tenant:acme", OPERATOR)).wanted is not None


def test_a_token_for_nothing_is_let_in_to_nothing() -> None:
    found = granted(ask(f"/ws?access_token={token(topics=[])}", None))
    assert found.wanted is not None
    assert found.identity is not None
    assert refused_topic(found.identity.scope, found.wanted.topics) is None


@pytest.mark.parametrize("path", ["/api/v1/ws", "/ws"])
def test_a_stranger_is_refused(path: str) -> None:
    assert refused(ask(path, None)) is RefusalCode.MISSING_API_KEY


def test_a_stranger_that_speaks_centrifuge_may_say_later_who_it_is() -> None:
    found = granted(ask(CENTRIFUGE, None))
    assert (found.identity, found.wire, found.wanted) == (None, Wire.CENTRIFUGE, None)
    assert found.grant.key.name == "(stranger)"


def test_who_says_something_false_is_no_stranger() -> None:
    assert refused(ask(CENTRIFUGE, "nobody")) is RefusalCode.INVALID_API_KEY


def test_a_client_of_centrifuge_says_later_what_it_wants() -> None:
    found = granted(ask(f"{CENTRIFUGE}?topics=nothing"))
    assert found.wanted is None
    assert found.identity is not None


def test_a_page_of_another_origin_is_refused() -> None:
    assert refused(ask("/ws", Origin="https://evil.example")) is RefusalCode.ORIGIN_NOT_ALLOWED
    granted(ask("/ws", Origin="http://relayd.test"))
    server = ServerSettings(allowed_origins=("https://app.example",))
    listed = Snapshot.of(Settings(keys=KEYS, server=server))
    granted(ask("/ws", snapshot=listed, Origin="https://app.example"))
    assert refused(ask(CENTRIFUGE, None, snapshot=listed, Origin="http://relayd.test"))


@pytest.mark.parametrize(
    ("offer", "echoed"),
    [
        (f"bearer.{USER}, centrifuge-json", "centrifuge-json"),
        (f"centrifuge-json, bearer.{token()}", "centrifuge-json"),
        (f"openai-insecure-api-key.{USER}, hub", "hub"),
    ],
)
def test_a_credential_is_never_echoed(offer: str, echoed: str | None) -> None:
    key = USER if offer.startswith("B") else None  # schemes of subprotocols are case-sensitive
    found = granted(ask("/ws", key, Sec_WebSocket_Protocol=offer))
    assert found.subprotocol == echoed
    assert USER.encode() not in response_101(HANDSHAKE_KEY, found.subprotocol)


@pytest.mark.parametrize("path", ["/ws", CENTRIFUGE])
@pytest.mark.parametrize(
    "offer", [f"bearer.{USER}", f"openai-insecure-api-key.{USER}", f"Bearer.{USER}"]
)
def test_a_credential_needs_another_subprotocol_that_can_be_echoed(path: str, offer: str) -> None:
    key = USER if offer.startswith("B") else None
    found = ask(path, key, Sec_WebSocket_Protocol=offer)

    assert refused(found) is RefusalCode.INVALID_PARAMETER
    assert isinstance(found, RefusedAdmission)
    assert "second" in found.message
    assert USER not in found.message
    granted(ask(path, key, Sec_WebSocket_Protocol=f"relayd, {offer}"))


def test_what_a_client_may_follow() -> None:
    found = granted(ask("/ws"))
    assert found.identity is not None
    scope = found.identity.scope
    selectors = [parse_selector(text) for text in ("*", "workflow:*", "ops")]
    known = tuple(each for each in selectors if each is not None)
    assert refused_topic(scope, known) == known[2]
    assert refused_topic(scope, known[:2]) is None
