from __future__ import annotations

import datetime

import attrs
import pytest

from relayd.config.hub import HubSettings
from relayd.config.keys import Role
from relayd.config.networks import parse_network
from relayd.config.schema import KeySettings, Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_topics import parse_selector
from relayd.protocol.head import HeadReader
from relayd.session.hub.identity import Identity, identify, identity_of, is_missing
from tests.session.hub.signing import NOW, OTHER_SECRET, SECRET, token

USER, OPERATOR, PUBLISHER = "rk_canary-user", "rk_canary-operator", "rk_canary-publisher"
DISABLED, NARROW, EXPIRING, BOUND = "rk_off", "rk_narrow", "rk_expiring", "rk_bound"
EXPIRES = datetime.datetime.fromtimestamp(NOW + 60, datetime.UTC)

KEYS = (
    KeySettings(name="user", secret=KeyDigest.of(USER), tenant="acme"),
    KeySettings(name="boss", secret=KeyDigest.of(OPERATOR), role=Role.OPERATOR),
    KeySettings(name="engine", secret=KeyDigest.of(PUBLISHER), role=Role.PUBLISHER, tenant="acme"),
    KeySettings(name="off", secret=KeyDigest.of(DISABLED), enabled=False),
    KeySettings(name="narrow", secret=KeyDigest.of(NARROW), dialects=("realtime",)),
    KeySettings(name="expiring", secret=KeyDigest.of(EXPIRING), expires=EXPIRES),
    KeySettings(
        name="bound", secret=KeyDigest.of(BOUND), allowed_ips=(parse_network("10.0.0.0/8"),)
    ),
)
SNAPSHOT = Snapshot.of(Settings(keys=KEYS, hub=HubSettings(jwt_hs256_secret=Secret(SECRET))))
WITHOUT_TOKENS = Snapshot.of(Settings(keys=KEYS))


def asking(
    target: str = "/ws", *lines: str, wall: float = NOW, snapshot: Snapshot = SNAPSHOT
) -> Identity | Refusal:
    text = "\r\n".join([f"GET {target} HTTP/1.1", "Host: relayd.test", *lines, "", ""])
    head = HeadReader(65536).feed(text.encode())
    assert head is not None
    return identify(head, "127.0.0.1", snapshot, wall)


def known(answer: Identity | Refusal) -> Identity:
    assert isinstance(answer, Identity), answer
    return answer


def code(answer: Identity | Refusal) -> RefusalCode:
    assert isinstance(answer, Refusal), answer
    return answer.code


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {USER}",
        f"x-api-key: {USER}",
        f"Sec-WebSocket-Protocol: openai-insecure-api-key.{USER}",
        f"Sec-WebSocket-Protocol: centrifuge-json, bearer.{USER}",
    ],
)
def test_a_key_is_known_wherever_keys_are_read(line: str) -> None:
    identity = known(asking("/ws", line))
    assert (identity.name, identity.tenant, identity.role) == ("user", "acme", Role.USER)
    assert identity.key is identity.limited_as is SNAPSHOT.key_for(USER)
    assert identity.expires_at is None


def test_a_token_is_known_wherever_keys_are_read_and_in_the_url() -> None:
    made = token()
    for asked in (
        asking("/ws", f"Authorization: Bearer {made}"),
        asking("/ws", f"Sec-WebSocket-Protocol: bearer.{made}"),
        asking(f"/ws?access_token={made}"),
        asking(f"/ws?access_token={made}", f"Authorization: Bearer {made}"),
    ):
        identity = known(asked)
        assert (identity.name, identity.tenant, identity.key) == ("jwt:alice", "acme", None)
        assert identity.expires_at == NOW + 300
        assert identity.limited_as.name == "(token)"


def test_a_key_in_the_url_is_not_read() -> None:
    assert code(asking(f"/ws?access_token={USER}")) is RefusalCode.INVALID_API_KEY


def test_a_key_that_looks_like_a_token_is_a_key() -> None:
    keys = (KeySettings(name="odd", secret=KeyDigest.of("a.b.c")),)
    odd = Snapshot.of(Settings(keys=keys, hub=SNAPSHOT.settings.hub))
    assert known(asking("/ws", "x-api-key: a.b.c", snapshot=odd)).name == "odd"
    assert code(asking("/ws?access_token=a.b.c", snapshot=odd)) is RefusalCode.INVALID_API_KEY


@pytest.mark.parametrize("target", ["/ws", "/ws?access=1"])
def test_who_presents_nothing_is_told_how(target: str) -> None:
    refusal = asking(target, "Sec-WebSocket-Protocol: bearer.")
    assert isinstance(refusal, Refusal)
    assert is_missing(refusal)
    assert refusal.status == 401


@pytest.mark.parametrize(
    "lines",
    [
        ("/ws?access_token=", "x-api-key: nobody"),
        ("/ws?access_token=",),
        ("/ws", "Authorization: Bearer nobody"),
        ("/ws", f"Authorization: Bearer {DISABLED}"),
        ("/ws", f"Authorization: Bearer {token(OTHER_SECRET)}"),
        ("/ws", f"Authorization: Bearer {USER}", f"x-api-key: {OPERATOR}"),
        ("/ws", f"Authorization: Bearer {USER}", "Sec-WebSocket-Protocol: bearer.other"),
        (f"/ws?access_token={token()}", f"Authorization: Bearer {USER}"),
    ],
)
def test_who_is_nobody_is_refused(lines: tuple[str, ...]) -> None:
    refusal = asking(*lines)
    assert code(refusal) is RefusalCode.INVALID_API_KEY
    assert not is_missing(refusal)  # type: ignore[arg-type] # the line above says so
    for secret in (USER, OPERATOR, DISABLED, "nobody"):
        assert secret not in str(refusal)


@pytest.mark.parametrize("query", ["access_token=a&access_token=b", "access_token=%zz"])
def test_a_query_that_says_two_things_is_refused(query: str) -> None:
    assert code(asking(f"/ws?{query}")) is RefusalCode.INVALID_PARAMETER


def test_tokens_open_nothing_where_none_are_configured() -> None:
    answer = asking("/ws", f"Authorization: Bearer {token()}", snapshot=WITHOUT_TOKENS)
    assert code(answer) is RefusalCode.INVALID_API_KEY


def test_what_stands_against_a_key_elsewhere_stands_against_it_here() -> None:
    def bearer(key: str, wall: float = NOW) -> Identity | Refusal:
        return asking("/ws", f"Authorization: Bearer {key}", wall=wall)

    assert code(bearer(NARROW)) is RefusalCode.DIALECT_NOT_ALLOWED
    assert code(bearer(BOUND)) is RefusalCode.ADDRESS_NOT_ALLOWED
    assert known(bearer(EXPIRING)).expires_at == NOW + 60
    assert code(bearer(EXPIRING, NOW + 60)) is RefusalCode.KEY_EXPIRED


def test_a_credential_may_also_come_in_a_message() -> None:
    assert known(identity_of(USER, "127.0.0.1", SNAPSHOT, NOW)).name == "user"
    assert known(identity_of(token(), "127.0.0.1", SNAPSHOT, NOW)).name == "jwt:alice"
    assert code(identity_of("", "127.0.0.1", SNAPSHOT, NOW)) is RefusalCode.INVALID_API_KEY


def test_what_each_role_may_do() -> None:
    user, boss, engine = (
        known(identity_of(key, "127.0.0.1", SNAPSHOT, NOW)).scope
        for key in (USER, OPERATOR, PUBLISHER)
    )
    assert [scope.may_see("acme", "workflow:x") for scope in (user, boss, engine)] == [True] * 3
    assert [scope.may_see("other", "workflow:x") for scope in (user, boss, engine)] == [
        False,
        True,
        False,
    ]
    assert [scope.may_see("", "ops") for scope in (user, boss, engine)] == [False, True, False]
    publishing = [scope.may_publish("workflow:x") for scope in (user, boss, engine)]
    assert publishing == [False, True, True]
    assert not any(scope.may_publish("session:sess_1") for scope in (user, boss, engine))


def test_what_a_token_may_do_is_what_it_says() -> None:
    made = token(topics=["workflow:a*"], publish=["workflow:a1"])
    identity = known(identity_of(made, "127.0.0.1", SNAPSHOT, NOW))
    assert identity.role is Role.PUBLISHER
    assert identity.scope.may_see("acme", "workflow:a2")
    assert not identity.scope.may_see("acme", "workflow:b")
    assert not identity.scope.may_see("other", "workflow:a2")
    assert identity.scope.may_publish("workflow:a1")
    assert not identity.scope.may_publish("workflow:a2")
    selector = parse_selector("session:*")
    assert selector is not None
    assert not identity.scope.may_follow(selector)


def test_a_later_token_of_the_same_takes_its_place() -> None:
    def of(made: str) -> Identity:
        return known(identity_of(made, "127.0.0.1", SNAPSHOT, NOW))

    first = of(token())
    assert first.is_same(of(token(exp=NOW + 900, topics=["workflow:*"])))
    assert not first.is_same(of(token(sub="bob")))
    assert not first.is_same(of(token(tenant="other")))
    key = known(identity_of(USER, "127.0.0.1", SNAPSHOT, NOW))
    assert not first.is_same(attrs.evolve(key, name="jwt:alice"))
