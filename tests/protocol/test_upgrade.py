from __future__ import annotations

import json
from collections.abc import Mapping

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head, HeadError, HeadReader
from relayd.protocol.upgrade import (
    PRIVATE_SUBPROTOCOLS,
    SUBPROTOCOLS_MAX,
    UpgradeRequest,
    accept_token,
    check_upgrade,
    echo_subprotocol,
    is_private,
    public_subprotocols,
    refusal_response,
    response_101,
)

SECRET = "rk_canary0canary0canary0canary0"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = {
    "Host": "relay.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
TOKENS = st.text(
    alphabet="!#$%&'*+-.^_`|~0123456789abcxyzABCXYZ", min_size=1, max_size=40
) | st.sampled_from(["realtime", "openai-agents-sdk.0.3.1", "openai-beta.realtime-v1"])


def head(
    changes: Mapping[str, str | None] | None = None,
    *,
    line: str = "GET /v1/realtime HTTP/1.1",
    behind: bytes = b"",
) -> Head:
    """The head of an upgrade with some headers changed, or left out by ``None``."""
    headers: dict[str, str | None] = {**UPGRADE, **(changes or {})}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    parsed = HeadReader(32_768).feed("\r\n".join([*lines, "", ""]).encode() + behind)
    assert parsed is not None
    return parsed


def opened(sent: bytes) -> UpgradeRequest:
    parsed = HeadReader(32_768).feed(sent)
    assert parsed is not None
    return check_upgrade(parsed)


def refusal(parsed: Head) -> Refusal:
    with pytest.raises(HeadError) as caught:
        check_upgrade(parsed)
    return caught.value.refusal


def test_an_upgrade_is_accepted_with_what_it_says() -> None:
    parsed = head({"Origin": "https://app.example", "Sec-WebSocket-Protocol": "realtime, a.b"})

    assert check_upgrade(parsed) == UpgradeRequest(
        head=parsed,
        key=KEY,
        subprotocols=("realtime", "a.b"),
        origin="https://app.example",
        host="relay.example",
    )


def test_without_origin_and_subprotocols_there_are_none() -> None:
    request = check_upgrade(head())

    assert request.origin is None
    assert request.subprotocols == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, websocket"},
        {"Connection": "keep-alive, upgrade"},
        {"Content-Length": "0"},
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Sec-WebSocket-Protocol": ""},
    ],
)
def test_what_rfc_6455_allows_is_accepted(headers: dict[str, str]) -> None:
    assert check_upgrade(head(headers)).key == KEY


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Upgrade": None}, RefusalCode.UPGRADE_REQUIRED),
        ({"Upgrade": "h2c"}, RefusalCode.UPGRADE_REQUIRED),
        ({"Upgrade": "websocket2"}, RefusalCode.UPGRADE_REQUIRED),
        ({"Connection": None}, RefusalCode.UPGRADE_REQUIRED),
        ({"Connection": "keep-alive"}, RefusalCode.UPGRADE_REQUIRED),
        ({"Sec-WebSocket-Version": None}, RefusalCode.WEBSOCKET_VERSION),
        ({"Sec-WebSocket-Version": "12"}, RefusalCode.WEBSOCKET_VERSION),
        ({"Sec-WebSocket-Version": "13, 8"}, RefusalCode.WEBSOCKET_VERSION),
        ({"Sec-WebSocket-Key": None}, RefusalCode.MALFORMED_REQUEST),
        ({"Sec-WebSocket-Key": ""}, RefusalCode.MALFORMED_REQUEST),
        ({"Sec-WebSocket-Key": "short"}, RefusalCode.MALFORMED_REQUEST),
        ({"Sec-WebSocket-Key": KEY[:-2]}, RefusalCode.MALFORMED_REQUEST),
        ({"Sec-WebSocket-Key": "A" * 24}, RefusalCode.MALFORMED_REQUEST),  # 18 bytes
        ({"Sec-WebSocket-Key": f"{KEY}, {KEY}"}, RefusalCode.MALFORMED_REQUEST),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j-_=="}, RefusalCode.MALFORMED_REQUEST),
        ({"Sec-WebSocket-Protocol": "a b"}, RefusalCode.MALFORMED_REQUEST),
        ({"Sec-WebSocket-Protocol": 'a, "b"'}, RefusalCode.MALFORMED_REQUEST),
        ({"Sec-WebSocket-Protocol": "a, a"}, RefusalCode.MALFORMED_REQUEST),
        (
            {"Sec-WebSocket-Protocol": ",".join(map(str, range(SUBPROTOCOLS_MAX + 1)))},
            RefusalCode.MALFORMED_REQUEST,
        ),
    ],
)
def test_what_rfc_6455_forbids_is_refused(headers: dict[str, str], code: RefusalCode) -> None:
    assert refusal(head(headers)).code is code


# Each request was answered with 101 or an unclear status by a lenient server.
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n<short key>\r\n", 400),
        (b"GET / HTTP/1.1\r\n<upgrade>Content-Length: 5\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\n<upgrade>Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n<upgrade>\r\n", 400),
        (b"GET / HTTP/1.1\n<upgrade>\n", 400),
        (b"GET / HTTP/1.1\r\n<upgrade>Host: other\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n<upgrade>\r\n", 405),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 426),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426),
        (b"GET / HTTP/1.1\r\n<upgrade>X: " + b"y" * 200_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n<upgrade>X: folded\r\n line\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n<upgrade>\r\n\x81\x80\0\0\0\0", 400),
    ],
)
def test_what_lenient_servers_let_in_is_refused(request_bytes: bytes, status: int) -> None:
    headers = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items()).encode()
    short = headers.replace(KEY.encode(), b"short")

    sent = request_bytes.replace(b"<upgrade>", headers).replace(b"<short key>", short)

    with pytest.raises(HeadError) as caught:
        opened(sent)

    assert caught.value.refusal.status == status


def test_version_12_is_told_which_version_is_spoken() -> None:
    response = refusal_response(refusal(head({"Sec-WebSocket-Version": "12"})))

    assert response.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in response


def test_another_method_is_told_the_one_that_works() -> None:
    refused = refusal(head(line="POST /v1/realtime HTTP/1.1"))

    assert refused.status == 405
    assert refused.headers == (("Allow", "GET"),)


def test_an_ordinary_request_is_told_to_upgrade() -> None:
    response = refusal_response(refusal(head({"Upgrade": None, "Connection": None})))

    assert b"\r\nUpgrade: websocket\r\n" in response
    assert b"\r\nConnection: Upgrade, close\r\n" in response


def test_bytes_behind_the_request_are_refused() -> None:
    assert refusal(head(behind=b"\x81\x80\0\0\0\0")).code is RefusalCode.EARLY_BYTES


def test_the_accept_token_is_the_one_of_the_rfc() -> None:
    assert accept_token(KEY) == ACCEPT


@pytest.mark.parametrize("subprotocol", [None, "realtime"])
def test_a_101_is_what_a_client_expects(subprotocol: str | None) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=list(UPGRADE.items())))
    client.receive_data(response_101(KEY, subprotocol))

    event = client.next_event()

    assert isinstance(event, h11.InformationalResponse)
    assert event.status_code == 101
    chosen = [] if subprotocol is None else [(b"sec-websocket-protocol", subprotocol.encode())]
    assert list(event.headers) == [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", ACCEPT.encode()),
        *chosen,
    ]
    assert client.trailing_data == (b"", False)


@pytest.mark.parametrize("subprotocol", ["", "a b", "a\r\nX: y", "a,b"])
def test_a_101_names_no_subprotocol_that_is_no_token(subprotocol: str) -> None:
    with pytest.raises(ValueError, match="token"):
        response_101(KEY, subprotocol)


@pytest.mark.parametrize("code", [code for code in RefusalCode if Refusal(code, "").status])
@pytest.mark.parametrize("head_only", [False, True])
def test_a_refusal_is_a_complete_response(code: RefusalCode, head_only: bool) -> None:
    refused = Refusal(code, "why ä", param="x", retry_after_s=0.2)
    client = h11.Connection(h11.CLIENT)
    method = "HEAD" if head_only else "GET"
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(refusal_response(refused, head_only=head_only, request_id="r-1"))

    response = client.next_event()
    assert isinstance(response, h11.Response)
    headers = dict(response.headers)
    assert response.status_code == refused.status
    assert headers[b"connection"] == b"close"
    assert headers[b"retry-after"] == b"1"
    assert headers[b"x-request-id"] == b"r-1"
    assert headers[b"content-length"] == str(len(refused.body())).encode()
    if not head_only:
        body = client.next_event()
        assert isinstance(body, h11.Data)
        assert json.loads(bytes(body.data))["error"]["code"] == code
    assert isinstance(client.next_event(), h11.EndOfMessage)
    assert client.trailing_data == (b"", False)


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "0"), (0.01, "1"), (2.0, "2"), (-3.0, "0")])
def test_retry_after_is_rounded_up_to_whole_seconds(seconds: float, header: str) -> None:
    response = refusal_response(Refusal(RefusalCode.OVERLOAD, "busy", retry_after_s=seconds))

    assert f"\r\nRetry-After: {header}\r\n".encode() in response


def test_nothing_is_sent_where_nobody_is_left() -> None:
    assert refusal_response(Refusal(RefusalCode.CLIENT_GONE, "gone")) == b""


def test_a_refusal_cannot_be_made_to_carry_another_header() -> None:
    injected = Refusal(RefusalCode.OVERLOAD, "", headers=(("Allow", "GET\r\nX: y"),))

    with pytest.raises(ValueError, match="Allow"):
        refusal_response(injected)


@pytest.mark.parametrize(
    ("offered", "echoed"),
    [
        ([], None),
        (["realtime"], "realtime"),
        (["a", "realtime", "b"], "realtime"),
        ([f"openai-insecure-api-key.{SECRET}", "realtime"], "realtime"),
        ([f"openai-insecure-api-key.{SECRET}"], None),
        ([f"OpenAI-Insecure-API-Key.{SECRET}"], None),
        ([f"openai-insecure-api-key.{SECRET}", "openai-agents-sdk.1"], "openai-agents-sdk.1"),
        (["openai-organization.o", "openai-project.p", "xai-client-secret.s"], None),
        (["openai-beta.realtime-v1"], "openai-beta.realtime-v1"),
        (["REALTIME", "b"], "REALTIME"),
        ([SECRET, "b"], "b"),
    ],
)
def test_realtime_is_echoed_else_the_first_item_that_is_no_secret(
    offered: list[str], echoed: str | None
) -> None:
    assert echo_subprotocol(offered) == echoed


@given(st.lists(TOKENS | st.builds("{}{}".format, st.sampled_from(PRIVATE_SUBPROTOCOLS), TOKENS)))
def test_nothing_private_is_ever_echoed_or_passed_on(offered: list[str]) -> None:
    echoed, passed_on = echo_subprotocol(offered), public_subprotocols(offered)

    assert echoed is None or echoed in offered
    assert echoed is not None or not passed_on
    for item in filter(None, [echoed, *passed_on]):
        assert not is_private(item)
        assert not item.startswith(PRIVATE_SUBPROTOCOLS)


def test_a_repr_shows_no_offered_key() -> None:
    offered = f"realtime, openai-insecure-api-key.{SECRET}"

    assert SECRET not in repr(check_upgrade(head({"Sec-WebSocket-Protocol": offered})))
