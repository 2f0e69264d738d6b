from __future__ import annotations

import datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.networks import parse_network
from relayd.config.providers import Dialect
from relayd.config.schema import AccountSettings, KeySettings, ServerSettings, Settings
from relayd.config.secret import KeyDigest
from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import HeadReader
from relayd.protocol.upgrade import UpgradeRequest, check_upgrade
from relayd.session.admission import (
    MODEL_MAX_CHARS,
    TAG_HEADER,
    Grant,
    RefusedAdmission,
    admit,
    check_key,
)

KEY = "rk_canary1canary1canary1canary1"
NARROW = "rk_canary2canary2canary2canary2"
RELAY_ONLY = "rk_canary3canary3canary3canary3"
BOUND = "rk_canary4canary4canary4canary4"
EXPIRING = "rk_canary5canary5canary5canary5"
EXPIRES = datetime.datetime(2026, 12, 31, 23, 0, tzinfo=datetime.UTC)
WALL = EXPIRES.timestamp() - 1.0
REALTIME = "/v1/realtime?model=gpt-realtime"

SETTINGS = Settings(
    keys=(
        KeySettings(name="dev", secret=KeyDigest.of(KEY)),
        KeySettings(
            name="narrow",
            secret=KeyDigest.of(NARROW),
            models=("gpt-realtime-mini*", "voice"),
            dialects=("realtime",),
        ),
        KeySettings(name="relay", secret=KeyDigest.of(RELAY_ONLY), dialects=("passthrough",)),
        KeySettings(
            name="bound",
            secret=KeyDigest.of(BOUND),
            dialects=("realtime",),
            allowed_ips=tuple(map(parse_network, ("127.0.0.0/8", "2001:db8::/32"))),
        ),
        KeySettings(
            name="expiring",
            secret=KeyDigest.of(EXPIRING),
            dialects=("realtime",),
            allowed_ips=(parse_network("127.0.0.2"),),
            expires=EXPIRES,
        ),
    ),
    accounts=(
        AccountSettings(name="main", provider="openai"),
        AccountSettings(name="echo", provider="websocket", base_url="ws://127.0.0.1:1"),
        AccountSettings(name="sim", provider="sim:passthrough"),
        AccountSettings(name="sim-realtime", provider="sim:realtime"),
        AccountSettings(
            name="off", provider="websocket", base_url="ws://127.0.0.1:1", enabled=False
        ),
    ),
)
SNAPSHOT = Snapshot.of(SETTINGS)


def upgrade(target: str, key: str | None = KEY, **headers: str) -> UpgradeRequest:
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: relay.example",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *([] if key is None else [f"Authorization: Bearer {key}"]),
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    head = HeadReader(32_768).feed("\r\n".join([*lines, "", ""]).encode())
    assert head is not None
    return check_upgrade(head)


def decide(target: str, key: str | None = KEY, **headers: str) -> Grant | RefusedAdmission:
    return admit(upgrade(target, key, **headers), "127.0.0.2", SNAPSHOT, now=7.0, wall=WALL)


def decide_from(address: str, key: str, *, wall: float = WALL) -> Grant | RefusedAdmission:
    return admit(upgrade(REALTIME, key), address, SNAPSHOT, now=7.0, wall=wall)


def granted(target: str, key: str = KEY, **headers: str) -> Grant:
    grant = decide(target, key, **headers)
    assert isinstance(grant, Grant)
    return grant


def refused(target: str, key: str | None = KEY, **headers: str) -> RefusedAdmission:
    refusal = decide(target, key, **headers)
    assert isinstance(refusal, RefusedAdmission)
    return refusal


# -- realtime


def test_a_realtime_client_is_granted_its_model() -> None:
    grant = granted(REALTIME)

    assert grant == Grant(
        key=grant.key,
        dialect=Dialect.REALTIME,
        client_address="127.0.0.2",
        granted_at=7.0,
        wall_granted_at=WALL,
        model="gpt-realtime",
    )
    assert grant.key.name == "dev"


@pytest.mark.parametrize(
    ("query", "model", "call_id", "intent"),
    [
        ("model=a", "a", None, None),
        ("model=org%2Fa%20b", "org/a b", None, None),
        ("model=a&intent=realtime", "a", None, "realtime"),
        ("deployment=a&api-version=2025-04-01-preview", "a", None, None),
        ("call_id=rtc_123", None, "rtc_123", None),
        ("intent=transcription", None, None, "transcription"),
        ("model=a&unknown=1&unknown=2", "a", None, None),
        ("model=" + "m" * MODEL_MAX_CHARS, "m" * MODEL_MAX_CHARS, None, None),
    ],
)
def test_the_query_says_what_the_session_is_about(
    query: str, model: str | None, call_id: str | None, intent: str | None
) -> None:
    grant = granted(f"/v1/realtime?{query}")

    assert (grant.model, grant.call_id, grant.intent) == (model, call_id, intent)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("", "model"),
        ("intent=realtime", "model"),
        ("model=", "model"),
        ("model=a&model=b", "model"),
        ("model=a%00b", "model"),
        ("model=a%0d%0aX:%20y", "model"),
        ("model=" + "m" * (MODEL_MAX_CHARS + 1), "model"),
        ("model=a&deployment=a", "deployment"),
        ("model=a&call_id=rtc_1", "call_id"),
        ("deployment=a&call_id=rtc_1", "call_id"),
        ("call_id=", "call_id"),
        ("call_id=a%2Fb", "call_id"),
        ("call_id=rtc_1&call_id=rtc_1", "call_id"),
        ("intent=chat", "intent"),
        ("intent=", "intent"),
        ("intent=realtime&intent=transcription", "intent"),
        ("intent=transcription&model=a", "model"),
        ("intent=transcription&deployment=a", "model"),
        ("intent=transcription&call_id=rtc_1", "call_id"),
        ("model=%ff", None),
        ("model=%zz", None),
    ],
)
def test_parameters_that_do_not_say_one_thing_are_refused(query: str, param: str | None) -> None:
    refusal = refused(f"/v1/realtime?{query}")

    assert refusal.code is RefusalCode.INVALID_PARAMETER
    assert refusal.param == param


def test_a_model_beside_transcription_is_told_where_it_belongs() -> None:
    refusal = refused("/v1/realtime?intent=transcription&model=whisper-1")

    assert "session.audio.input.transcription.model" in refusal.message


@pytest.mark.parametrize(
    "headers",
    [
        {"OpenAI_Beta": "realtime=v1"},
        {"OpenAI_Beta": "assistants=v2, Realtime=v1"},
        {"Sec_WebSocket_Protocol": "realtime, openai-beta.realtime-v1"},
    ],
)
def test_a_beta_shaped_client_is_told_to_use_the_ga_api(headers: dict[str, str]) -> None:
    refusal = refused(REALTIME, **headers)

    assert refusal.code is RefusalCode.BETA_API_SHAPE_DISABLED
    assert refusal.status == 400
    assert "GA" in refusal.message


def test_other_beta_features_are_no_beta_shape() -> None:
    assert granted(REALTIME, OpenAI_Beta="responses_websockets=2026-02-06").model == "gpt-realtime"


@pytest.mark.parametrize("model", ["voice", "gpt-realtime-mini", "gpt-realtime-mini-2025-12-15"])
def test_a_key_may_use_the_models_that_its_patterns_name(model: str) -> None:
    assert granted(f"/v1/realtime?model={model}", NARROW).model == model


@pytest.mark.parametrize("query", ["model=gpt-realtime", "deployment=gpt-realtime", "model=Voice"])
def test_another_model_is_refused_and_the_patterns_are_told(query: str) -> None:
    refusal = refused(f"/v1/realtime?{query}", NARROW)

    assert refusal.code is RefusalCode.MODEL_NOT_ALLOWED
    assert "gpt-realtime-mini*, voice" in refusal.message


def test_a_call_needs_a_key_for_every_model() -> None:
    assert refused("/v1/realtime?call_id=rtc_1", NARROW).code is RefusalCode.MODEL_NOT_ALLOWED


def test_of_the_clients_headers_three_go_on() -> None:
    grant = granted(
        REALTIME,
        OpenAI_Safety_Identifier="user-1",
        openai_project="p",
        OpenAI_Organization="o",
        User_Agent="OpenAI/Python",
        Cookie="a=b",
        X_Forwarded_For="10.0.0.1",
    )

    assert grant.forward_headers == (
        ("OpenAI-Organization", "o"),
        ("OpenAI-Project", "p"),
        ("OpenAI-Safety-Identifier", "user-1"),
    )


def test_a_header_that_could_not_be_sent_on_is_malformed() -> None:
    refusal = refused(REALTIME, OpenAI_Safety_Identifier="ü")

    assert refusal.code is RefusalCode.MALFORMED_REQUEST
    assert refusal.param == "openai-safety-identifier"


# -- passthrough


@pytest.mark.parametrize("account_name", ["echo", "sim"])
def test_passthrough_names_its_account_and_keeps_tail_and_query_raw(account_name: str) -> None:
    grant = granted(f"/relay/{account_name}/v1/x%20y?a=%zz&model=1&model=2")

    assert grant.dialect is Dialect.PASSTHROUGH
    assert grant.account_name == account_name
    assert grant.tail == "/v1/x%20y"
    assert grant.upstream_query == "a=%zz&model=1&model=2"
    assert grant.model is None


@pytest.mark.parametrize("account_name", ["main", "sim-realtime", "off", "nobody", "ECHO", "."])
def test_only_enabled_passthrough_accounts_are_found(account_name: str) -> None:
    assert refused(f"/relay/{account_name}/x").status == 404
    assert refused(f"/relay/{account_name}/x").message == refused("/relay/nobody/x").message


def test_passthrough_sends_on_the_public_subprotocols_and_no_header() -> None:
    grant = granted(
        "/relay/echo",
        Sec_WebSocket_Protocol=f"v2, openai-insecure-api-key.{KEY}, openai-project.p, v1",
        OpenAI_Organization="o",
    )

    assert grant.subprotocols == ("v2", "v1")
    assert grant.forward_headers == ()


def test_a_beta_shaped_client_may_pass_through() -> None:
    assert granted("/relay/echo", OpenAI_Beta="realtime=v1").account_name == "echo"


# -- who and from where


@pytest.mark.parametrize("target", [REALTIME, "/realtime", "/openai/realtime?x", "/relay/echo/x"])
def test_every_route_asks_for_a_key(target: str) -> None:
    assert refused(target, None).code is RefusalCode.MISSING_API_KEY
    assert refused(target, KEY + "x").code is RefusalCode.INVALID_API_KEY


def test_a_key_in_the_url_is_not_read() -> None:
    refusal = refused(f"{REALTIME}&api-key={KEY}&key={KEY}", None)

    assert refusal.code is RefusalCode.MISSING_API_KEY


def test_a_key_speaks_only_its_dialects() -> None:
    assert refused("/relay/echo", NARROW).code is RefusalCode.DIALECT_NOT_ALLOWED
    assert refused(REALTIME, RELAY_ONLY).code is RefusalCode.DIALECT_NOT_ALLOWED
    assert granted("/relay/echo", RELAY_ONLY).key.name == "relay"


@pytest.mark.parametrize(
    ("target", "key", "headers", "code"),
    [
        ("/nowhere", None, {"Origin": "null"}, RefusalCode.ORIGIN_NOT_ALLOWED),
        ("/nowhere", None, {}, RefusalCode.NOT_FOUND),
        ("/relay/nobody", None, {}, RefusalCode.MISSING_API_KEY),
        ("/relay/nobody", NARROW, {}, RefusalCode.DIALECT_NOT_ALLOWED),
        ("/realtime", RELAY_ONLY, {}, RefusalCode.DIALECT_NOT_ALLOWED),
        ("/relay/nobody", NARROW, {"x_relayd_tag": ""}, RefusalCode.DIALECT_NOT_ALLOWED),
        ("/realtime?model=other", NARROW, {"x_relayd_tag": ""}, RefusalCode.INVALID_PARAMETER),
        ("/realtime?model=", NARROW, {}, RefusalCode.INVALID_PARAMETER),
        ("/realtime?model=other", NARROW, {}, RefusalCode.MODEL_NOT_ALLOWED),
    ],
)
def test_the_first_of_origin_path_key_dialect_tag_parameters_model_decides(
    target: str, key: str | None, headers: dict[str, str], code: RefusalCode
) -> None:
    assert refused(target, key, **headers).code is code


def test_a_key_is_refused_from_the_moment_at_which_it_expires() -> None:
    assert isinstance(decide_from("127.0.0.2", EXPIRING), Grant)

    refusal = decide_from("127.0.0.2", EXPIRING, wall=EXPIRES.timestamp())

    assert isinstance(refusal, RefusedAdmission)
    assert (refusal.code, refusal.status) == (RefusalCode.KEY_EXPIRED, 403)
    assert "expired at 2026-12-31T23:00:00Z" in refusal.message
    assert (refusal.dialect, refusal.key_name) == (Dialect.REALTIME, "expiring")


@pytest.mark.parametrize(
    ("address", "passes"),
    [
        ("127.0.0.2", True),
        ("::ffff:127.0.0.2", True),
        ("2001:db8::7", True),
        ("128.0.0.1", False),
        ("::ffff:128.0.0.1", False),
        ("::1", False),
        ("unix", False),
    ],
)
def test_a_key_that_is_bound_to_addresses_opens_from_no_other(address: str, passes: bool) -> None:
    decision = decide_from(address, BOUND)

    assert isinstance(decision, Grant) is passes
    if isinstance(decision, RefusedAdmission):
        assert (decision.code, decision.status) == (RefusalCode.ADDRESS_NOT_ALLOWED, 403)
        assert decision.key_name == "bound"
    assert isinstance(decide_from(address, KEY), Grant)


@pytest.mark.parametrize(
    ("target", "key", "address", "wall", "code"),
    [
        (REALTIME, EXPIRING + "x", "::1", 1e10, RefusalCode.INVALID_API_KEY),
        ("/relay/nobody", EXPIRING, "::1", 1e10, RefusalCode.KEY_EXPIRED),
        ("/relay/nobody", EXPIRING, "::1", WALL, RefusalCode.ADDRESS_NOT_ALLOWED),
        ("/relay/nobody", EXPIRING, "127.0.0.2", WALL, RefusalCode.DIALECT_NOT_ALLOWED),
    ],
)
def test_expiry_then_address_stand_between_the_key_and_the_dialect(
    target: str, key: str, address: str, wall: float, code: RefusalCode
) -> None:
    refusal = admit(upgrade(target, key), address, SNAPSHOT, now=7.0, wall=wall)

    assert isinstance(refusal, RefusedAdmission)
    assert refusal.code is code


def test_a_key_can_be_checked_again_later() -> None:
    key = granted(REALTIME, EXPIRING).key

    assert check_key(key, "127.0.0.2", WALL) is None
    assert check_key(key, "127.0.0.2", WALL + 1.0) is not None


@pytest.mark.parametrize("target", [REALTIME, "/relay/echo"])
def test_a_tag_is_kept_and_not_sent_on(target: str) -> None:
    tag = "team-a/nightly:run.7_" + "x" * 43
    grant = granted(target, X_Relayd_Tag=tag)

    assert grant.tag == tag
    assert grant.forward_headers == ()
    assert granted(target).tag is None


@pytest.mark.parametrize("tag", ["", "a b", "a,b", "a" * 65, "ü", "a;b", "{a}", f"Bearer {KEY}"])
def test_another_tag_is_refused_with_the_name_of_its_header(tag: str) -> None:
    refusal = refused(REALTIME, X_Relayd_Tag=tag)

    assert (refusal.code, refusal.status) == (RefusalCode.INVALID_PARAMETER, 400)
    assert refusal.param == TAG_HEADER == "x-relayd-tag"


@pytest.mark.parametrize("again", ["a", "b", ""])
def test_a_tag_is_sent_once(again: str) -> None:
    refusal = refused(REALTIME, X_Relayd_Tag="a", x_relayd_tag=again)

    assert refusal.param == TAG_HEADER
    assert "sent once" in refusal.message


def test_a_listed_origin_is_let_in_by_the_configuration() -> None:
    server = ServerSettings(allowed_origins=("https://app.example",))
    snapshot = Snapshot.of(attrs.evolve(SETTINGS, server=server))
    listed = upgrade(REALTIME, Origin="https://app.example")
    other = upgrade(REALTIME, Origin="https://b.example")

    assert isinstance(admit(listed, "127.0.0.2", snapshot, now=0.0, wall=WALL), Grant)
    assert isinstance(admit(other, "127.0.0.2", snapshot, now=0.0, wall=WALL), Refusal)


@pytest.mark.parametrize(
    ("target", "key", "dialect", "key_name"),
    [
        ("/nowhere", KEY, None, None),
        ("/realtime", None, Dialect.REALTIME, None),
        ("/realtime", "wrong-key", Dialect.REALTIME, None),
        ("/realtime", KEY, Dialect.REALTIME, "dev"),
        ("/relay/nobody", KEY, Dialect.PASSTHROUGH, "dev"),
    ],
)
def test_a_refusal_knows_how_far_admission_came(
    target: str, key: str | None, dialect: Dialect | None, key_name: str | None
) -> None:
    refusal = refused(target, key)

    assert (refusal.dialect, refusal.key_name) == (dialect, key_name)


CANARY_PLACES = st.sampled_from(
    [
        (f"/{KEY}", {}),
        (f"/relay/{KEY}/{KEY}", {}),
        (f"/relay/echo/%2e{KEY}", {}),
        (f"/realtime?model={KEY}&{KEY}=%ff", {}),
        (f"/realtime?model={KEY}&call_id={KEY}", {}),
        (f"/realtime?call_id={KEY}%20", {}),
        (f"/realtime?intent={KEY}", {}),
        (f"/realtime?model={KEY}", {}),
        ("/realtime", {"Origin": f"https://{KEY}"}),
        (REALTIME, {"Sec_WebSocket_Protocol": f"openai-insecure-api-key.{KEY}, {KEY}"}),
        (REALTIME, {"api_key": KEY}),
        (REALTIME, {"x_relayd_tag": f"{KEY} {KEY}"}),
        (REALTIME, {"x_relayd_tag": KEY}),
        (REALTIME, {"OpenAI_Beta": f"realtime=v1, {KEY}"}),
        (f"/relay/echo/{KEY}?{KEY}", {}),
    ]
)


@given(CANARY_PLACES, st.sampled_from([None, KEY, NARROW]))
def test_no_decision_shows_a_key_that_the_client_sent(
    place: tuple[str, dict[str, str]], key: str | None
) -> None:
    target, headers = place
    decision = decide(target, key, **headers)

    # A model or call id is the client's word for what it wants, and is told to operators.
    if isinstance(decision, Grant):
        decision = attrs.evolve(decision, model=None, call_id=None)
    else:
        assert KEY not in decision.body().decode()
    assert KEY not in repr(decision)
