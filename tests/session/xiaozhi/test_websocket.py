"""How servers are asked, and what they may name to a device."""

from __future__ import annotations

import attrs
import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.providers import Provider
from relayd.config.snapshot import Account
from relayd.config.url import parse_base_url
from relayd.config.xiaozhi import DeviceServerSettings
from relayd.dialect.xiaozhi_actions import Hangup
from relayd.dialect.xiaozhi_frames import AudioFrame
from relayd.dialect.xiaozhi_identity import Identity
from relayd.routing.classify import FailureKind
from relayd.session.xiaozhi.websocket import WebSocketCarrier, handshake, refuses_of
from tests.session.xiaozhi.stage import HELLO, OPUS, Stage

DEVICE = Identity("aa:bb:cc:dd:ee:01", "c-1")
ACCOUNT = Account(
    name="one",
    provider=Provider.XIAOZHI,
    base_url=parse_base_url("ws://192.168.7.7:8000/xiaozhi/v1/"),
)


def test_a_handshake_says_who_asks() -> None:
    asked = handshake(ACCOUNT, DEVICE, "t-1")

    assert asked.target == "/xiaozhi/v1/"
    assert dict(asked.headers) == {
        "Protocol-Version": "1",
        "Device-Id": "aa:bb:cc:dd:ee:01",
        "Client-Id": "c-1",
        "Authorization": "Bearer t-1",
    }


def test_a_token_with_a_space_brings_its_own_scheme() -> None:
    assert dict(handshake(ACCOUNT, DEVICE, "Basic abc").headers)["Authorization"] == "Basic abc"
    assert "Authorization" not in dict(handshake(ACCOUNT, DEVICE, None).headers)


def test_framing_two_is_asked_for_as_a_gateway_does() -> None:
    account = attrs.evolve(ACCOUNT, xiaozhi=DeviceServerSettings(protocol_version=2))

    asked = handshake(account, DEVICE, None)

    assert asked.target == "/xiaozhi/v1/?from=mqtt_gateway"
    assert ("Protocol-Version", "2") in asked.headers


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("192.168.7.7", False),  # where the operator has said that the server is
        ("192.168.7.8", True),
        ("localhost", True),
        ("169.254.169.254", True),
        ("93.184.216.34", False),
        ("vision.example", False),
    ],
)
def test_private_places_are_not_named_to_devices(host: str, refused: bool) -> None:
    assert refuses_of(ACCOUNT)(host) is refused
    assert not refuses_of(attrs.evolve(ACCOUNT, allow_private=True))(host)


async def connected(stage: Stage) -> WebSocketCarrier:
    one = await stage.server()
    device = await stage.device()
    await device.say(HELLO)
    await stage.accept(one)
    await wait_all_tasks_blocked()
    carrier = device.session.servers.carrier
    assert isinstance(carrier, WebSocketCarrier)
    return carrier


async def test_only_a_refusal_of_the_accounts_own_is_fatal(
    autojump_clock: MockClock, stage: Stage
) -> None:
    carrier = await connected(stage)

    assert carrier.failure(Hangup.REFUSED, "no", 1.0).kind is FailureKind.REFUSED
    carrier.terms.doubts.count("one", "another", 2.0)
    assert carrier.failure(Hangup.REFUSED, "no", 2.0).kind is FailureKind.FATAL
    assert "no" in carrier.failure(Hangup.REFUSED, "no", 2.0).message
    carrier.accounts_own = False
    assert carrier.failure(Hangup.REFUSED, "no", 2.0).kind is FailureKind.REFUSED


@pytest.mark.parametrize("hangup", [Hangup.NO_HELLO, Hangup.LOST, Hangup.BAD_HELLO])
async def test_one_device_counts_once_against_an_account(
    autojump_clock: MockClock, stage: Stage, hangup: Hangup
) -> None:
    carrier = await connected(stage)

    kinds = [carrier.failure(hangup, "", now).kind for now in (1.0, 2.0, 3.0)]

    assert kinds == [FailureKind.UNREACHABLE, FailureKind.REFUSED, FailureKind.REFUSED]


async def test_a_server_is_parted_with_once(autojump_clock: MockClock, stage: Stage) -> None:
    carrier = await connected(stage)
    (session,) = stage.sessions
    session.servers.leave(1000, 0.0)

    carrier.part(1000, 0.0)
    carrier.say_audio([AudioFrame(OPUS)], 0.0)

    assert stage.in_flight == [0]
