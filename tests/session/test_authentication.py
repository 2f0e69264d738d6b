from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.schema import KeySettings, Settings
from relayd.config.secret import KeyDigest
from relayd.config.snapshot import Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.fields import Fields
from relayd.session.authentication import authenticate

GOOD = "rk_canary1canary1canary1canary1"
OTHER = "rk_canary2canary2canary2canary2"
DISABLED = "rk_canary3canary3canary3canary3"
WRONG = "rk_canary4canary4canary4canary4"
SUBPROTOCOL = "openai-insecure-api-key."

SNAPSHOT = Snapshot.of(
    Settings(
        keys=(
            KeySettings(name="dev", secret=KeyDigest.of(GOOD)),
            KeySettings(name="other", secret=KeyDigest.of(OTHER)),
            KeySettings(name="old", secret=KeyDigest.of(DISABLED), enabled=False),
        )
    )
)
HEADER_BYTES = st.binary(max_size=80)


def ask(**headers: str | bytes) -> Key | Refusal:
    pairs = (
        (
            name.replace("_", "-").lower().encode(),
            value.encode() if isinstance(value, str) else value,
        )
        for name, value in headers.items()
    )
    return authenticate(Fields(headers=tuple(pairs)), SNAPSHOT)


def code(answer: Key | Refusal) -> RefusalCode:
    assert isinstance(answer, Refusal)
    assert answer.status == 401
    assert ("WWW-Authenticate", "Bearer") in answer.headers
    return answer.code


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {GOOD}"},
        {"authorization": f"bearer   {GOOD}"},
        {"api_key": GOOD},
        {"x_api_key": GOOD},
        {"sec_websocket_protocol": f"{SUBPROTOCOL}{GOOD}"},
        {"sec_websocket_protocol": f"realtime, {SUBPROTOCOL}{GOOD}, openai-agents-sdk.1"},
        {"authorization": f"Bearer {GOOD}", "api_key": GOOD},
        {"authorization": "Basic dXNlcjpwYXNz", "api_key": GOOD},
        {"authorization": "", "x_api_key": GOOD},
    ],
)
def test_a_key_is_taken_from_each_place(headers: dict[str, str]) -> None:
    key = ask(**headers)

    assert isinstance(key, Key)
    assert key.name == "dev"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": GOOD},
        {"authorization": f"Basic {GOOD}"},
        {"authorization": f"Bearer {GOOD} {GOOD}"},
        {"api_key": ""},
        {"sec_websocket_protocol": "realtime"},
        {"sec_websocket_protocol": SUBPROTOCOL},
        {"sec_websocket_protocol": GOOD},
        {"cookie": f"api-key={GOOD}"},
    ],
)
def test_without_a_key_in_one_of_the_places_it_is_missing(headers: dict[str, str]) -> None:
    assert code(ask(**headers)) is RefusalCode.MISSING_API_KEY


@pytest.mark.parametrize(
    "presented", [WRONG, GOOD[:-1], GOOD + "x", GOOD.upper(), "x", SNAPSHOT.settings.keys[0].name]
)
def test_a_wrong_key_is_invalid(presented: str) -> None:
    assert code(ask(authorization=f"Bearer {presented}")) is RefusalCode.INVALID_API_KEY


def test_the_digest_of_a_key_does_not_open_what_the_key_opens() -> None:
    (digest, *_) = SNAPSHOT.keys

    assert code(ask(api_key=digest.hex())) is RefusalCode.INVALID_API_KEY
    assert code(ask(api_key=f"sha256:{digest.hex()}")) is RefusalCode.INVALID_API_KEY


def test_a_disabled_key_is_answered_exactly_like_a_wrong_one() -> None:
    assert ask(api_key=DISABLED) == ask(api_key=WRONG)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {GOOD}", "api_key": OTHER},
        {"api_key": GOOD, "x_api_key": WRONG},
        {"authorization": f"Bearer {GOOD}", "sec_websocket_protocol": f"{SUBPROTOCOL}{WRONG}"},
        {"sec_websocket_protocol": f"{SUBPROTOCOL}{GOOD}, {SUBPROTOCOL}{OTHER}"},
    ],
)
def test_several_different_keys_are_refused_even_if_each_is_right(headers: dict[str, str]) -> None:
    assert code(ask(**headers)) is RefusalCode.INVALID_API_KEY


@pytest.mark.parametrize("presented", [GOOD, OTHER, DISABLED, WRONG])
def test_no_refusal_shows_a_key(presented: str) -> None:
    for answer in (
        ask(authorization=presented),
        ask(api_key=presented + "x"),
        ask(api_key=presented, x_api_key=WRONG + "y"),
    ):
        assert isinstance(answer, Refusal)
        assert presented not in repr(answer)
        assert presented not in answer.body().decode()


@given(HEADER_BYTES, HEADER_BYTES, HEADER_BYTES)
def test_no_bytes_in_the_headers_raise_or_open(bearer: bytes, key: bytes, offer: bytes) -> None:
    answer = ask(authorization=b"Bearer " + bearer, api_key=key, sec_websocket_protocol=offer)

    assert code(answer) in {RefusalCode.MISSING_API_KEY, RefusalCode.INVALID_API_KEY}
