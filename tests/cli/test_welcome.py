"""What a person is shown who starts relayd by hand."""

from __future__ import annotations

import shlex
from itertools import pairwise

import pytest

from relayd.cli.welcome import what_to_try
from relayd.config.accounts import AccountSettings
from relayd.config.keys import Role
from relayd.config.schema import KeySettings, ServerSettings, Settings, TlsSettings
from relayd.config.secret import KeyDigest
from relayd.config.snapshot import Snapshot
from relayd.config.xiaozhi import XiaozhiSettings
from relayd.observe.bus import Bus
from relayd.protocol.head import HeadReader
from relayd.protocol.upgrade import check_upgrade
from relayd.service.app import Running
from relayd.service.difference import ReloadOutcome

TRYING = "relayd-dev-key"
OWN = "canary-of-client"
TCP = "127.0.0.1:8765"
UNIX = "unix:/run/relayd.sock"


async def never() -> ReloadOutcome:
    raise AssertionError("nobody reloads here")


def shown(
    *addresses: str,
    key: str = TRYING,
    admin: str = UNIX,
    models: tuple[str, ...] = ("gpt-realtime*",),
    role: Role = Role.USER,
    public_url: str | None = None,
    **server: object,
) -> str:
    settings = Settings(
        xiaozhi=XiaozhiSettings(public_url=public_url),
        server=ServerSettings(**server),  # type: ignore[arg-type]  # passed on as given
        keys=(KeySettings(name="dev", secret=KeyDigest.of(key), role=role),),
        accounts=(
            AccountSettings(name="off", provider="openai", models=("other",), enabled=False),
            AccountSettings(name="sim", provider="sim:realtime", models=models),
            AccountSettings(name="code", provider="sim:responses", models=("gpt-5.2*",)),
            AccountSettings(name="kitchen", provider="sim:xiaozhi"),
        ),
    )
    running = Running(
        addresses=addresses,
        admin=admin,
        drain=lambda: None,
        stop=lambda: None,
        reload=never,
        apply=lambda snapshot: None,
        bus=Bus(),
    )
    return what_to_try(Snapshot.of(settings), running)


def test_it_names_the_addresses_and_how_to_stop() -> None:
    text = shown(TCP, "[::1]:8765")

    assert "relayd listens on 127.0.0.1:8765, [::1]:8765; Ctrl-C drains, twice stops." in text


def test_it_shows_a_curl_a_script_and_the_health_with_the_key_for_trying() -> None:
    text = shown(UNIX, TCP)

    assert f"-H 'Authorization: Bearer {TRYING}'" in text
    assert f"'http://{TCP}/v1/realtime?model=gpt-realtime'" in text
    assert f'base_url="http://{TCP}/v1", api_key="{TRYING}"' in text
    assert 'realtime.connect(model="gpt-realtime")' in text
    assert "curl --unix-socket /run/relayd.sock http://localhost/readyz" in text


def test_it_shows_the_dashboard_to_who_may_open_it_with_the_key_for_trying() -> None:
    assert f"http://{TCP}/dashboard, with the key {TRYING}" in shown(TCP, role=Role.OPERATOR)
    assert "dashboard" not in shown(TCP)
    assert "dashboard" not in shown(TCP, role=Role.OPERATOR, key=OWN)


def test_devices_are_told_where_to_ask_where_that_is_known() -> None:
    told = "their OTA address is https://relay.example/xiaozhi/ota/"

    assert told in shown(TCP, public_url="https://relay.example")
    assert "OTA" not in shown(TCP)


def test_the_curl_is_a_handshake_that_relayd_accepts() -> None:
    _, _, words = shown(TCP).partition("curl -iN")
    command, _, _ = words.partition("Python")
    arguments = shlex.split(command)
    lines = [after for before, after in pairwise(arguments) if before == "-H"]
    path = arguments[-1].removeprefix(f"http://{TCP}")

    head = HeadReader(32_768).feed(
        "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {TCP}", *lines, "", ""]).encode()
    )

    assert head is not None
    assert check_upgrade(head).key == "cmVsYXlkLXNhbXBsZS1rZQ=="


def test_the_script_is_python() -> None:
    _, _, script = shown(TCP).partition("with the openai package:\n")
    script, _, _ = script.partition("  Health:")

    code = compile("\n".join(line[4:] for line in script.splitlines()), "welcome", "exec")

    assert set(code.co_names) == {"asyncio", "openai", "main", "run"}


def test_a_key_of_the_operator_s_own_is_not_shown() -> None:
    text = shown(TCP, key=OWN)

    assert OWN not in text
    assert TRYING not in text
    assert "Bearer YOUR-KEY" in text


def test_with_tls_the_addresses_say_so() -> None:
    files = TlsSettings(certificate="c.pem", private_key="k.pem")

    assert f"https://{TCP}/v1/realtime" in shown(TCP, tls=files)


def test_without_tcp_there_is_nothing_to_copy() -> None:
    assert shown(UNIX).strip() == f"relayd listens on {UNIX}; Ctrl-C drains, twice stops."


def test_an_admin_listener_on_tcp_wants_a_token_so_no_command_is_shown() -> None:
    assert "readyz" not in shown(TCP, admin="127.0.0.1:8766")


@pytest.mark.parametrize(("pattern", "model"), [("*", "gpt-realtime"), ("voice-*", "voice-")])
def test_the_model_is_one_that_the_account_serves(pattern: str, model: str) -> None:
    assert f'connect(model="{model}")' in shown(TCP, models=(pattern,))


def test_without_a_realtime_account_there_is_nothing_to_say_to_one() -> None:
    settings = Settings(keys=(KeySettings(name="dev", secret=KeyDigest.of(TRYING)),))
    running = Running(
        addresses=(TCP,),
        admin=UNIX,
        drain=lambda: None,
        stop=lambda: None,
        reload=never,
        apply=lambda snapshot: None,
        bus=Bus(),
    )

    text = what_to_try(Snapshot.of(settings), running)

    assert "openai" not in text
    assert TRYING not in text
    assert "readyz" in text


def test_it_shows_a_request_without_a_websocket() -> None:
    text = shown(TCP)

    command = text[text.index("curl -N") :].split("\n\n")[0]
    words = shlex.split(command.replace("\\\n", " "))
    assert words[2] == f"http://{TCP}/v1/responses"
    assert '"model": "gpt-5.2"' in words[words.index("-d") + 1]
