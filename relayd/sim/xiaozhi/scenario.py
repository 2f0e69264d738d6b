"""What a simulated xiaozhi server can be asked to play.

A scenario of the door or of the settings is played to whoever comes while it is set, or to the
device whose client id is ``sim-NAME``. A scenario of the answer is played in every answer while it
is set, in those of such a device, or in the one that is asked for by ``[sim:NAME]`` in the text of
a ``listen`` of state ``detect``.
"""

from __future__ import annotations

import enum


class Scenario(enum.Enum):
    """A named way to behave; ``summary`` says what it does."""

    summary: str

    def __new__(cls, word: str, summary: str = "") -> Scenario:
        """A member whose value is ``word``, the name on the command line."""
        member = object.__new__(cls)
        member._value_ = word
        member.summary = summary
        return member

    NORMAL = "normal", "answers every utterance as servers do"

    # Of the door.
    SILENT_HANDSHAKE = "silent_handshake", "accepts the TCP connection and never answers"
    REFUSE_HTTP_500 = "refuse_http_500", "answers the upgrade with 500"
    IS_RUNNING = "is_running", "answers the upgrade with 200 Server is running"
    TOKEN_REFUSED = "token_refused", "after the 101: the text 认证失败, then Close 1000"
    NO_DEVICE = "no_device", "after the 101: the text 端口正常, then Close 1000"
    RESET_AT_HELLO = "reset_at_hello", "resets TCP when the hello comes"
    SLOW_HELLO = "slow_hello", "takes 5 s over its first hello"
    HELLO_LOST = "hello_lost", "drops the first hello"
    HELLO_LOST_TWICE = "hello_lost_twice", "drops the first two hellos"
    SILENT_HELLO = "silent_hello", "drops every hello"
    NO_TRANSPORT = "no_transport", "has no transport in its hello"
    NO_SESSION_ID = "no_session_id", "has no session id, in its hello and elsewhere"
    PING_IGNORED = "ping_ignored", "answers no ping of the WebSocket"
    PONGS = "pongs", "answers messages of type ping"
    NO_MCP = "no_mcp", "asks for no tools"

    # Of the answer.
    RESET_MID_SPEECH = "reset_mid_speech", "resets TCP after a few frames of speech"
    FINISH_MID_SPEECH = "finish_mid_speech", "sends FIN after a few frames of speech"
    CLOSE_1011 = "close_1011", "closes with 1011 after a few frames of speech"
    CLOSE_1012 = "close_1012", "closes with 1012 after a few frames of speech"
    CLOSE_1013 = "close_1013", "closes with 1013 after a few frames of speech"
    CLOSE_1000_MID_SPEECH = "close_1000_mid_speech", "closes with 1000 after a few frames of speech"
    CLOSE_1000_AFTER_TURN = "close_1000_after_turn", "closes with 1000 behind an answer"
    HALF_OPEN = "half_open", "neither sends nor reads after a few frames, as if unplugged"
    SILENT = "silent", "hears an utterance and says nothing"
    SILENT_AFTER_STT = "silent_after_stt", "says what it has heard and nothing more"
    WRONG_SIZE = "wrong_size", "sends frames whose size is not what they say, or empty ones"
    OTHER_SESSION_ID = "other_session_id", "has a session id in an answer that is none of its own"
    STRANGE = "strange", "sends messages of no known type, and text that is no JSON"
    BIG_MESSAGE = "big_message", "sends a message of 512 KiB within an answer"
    HUGE_MESSAGE = "huge_message", "sends a message of 2 MiB within an answer"
    TOOL_CALL = "tool_call", "calls the device's first tool before it answers"
    REBOOT = "reboot", "lets the device reboot behind an answer"

    # Of the settings, over HTTP.
    OTA_MQTT = "ota_mqtt", "tells of an MQTT gateway and of no WebSocket"
    OTA_BOTH = "ota_both", "tells of both"
    OTA_ACTIVATION = "ota_activation", "wants devices to be activated, which takes two requests"
    OTA_REFUSED = "ota_refused", "answers 200 with success false"
    OTA_HTTP_500 = "ota_http_500", "answers 500"
    OTA_NOT_JSON = "ota_not_json", "answers 200 with a page"
    OTA_HUGE = "ota_huge", "answers 200 with 1 MiB of JSON"
    OTA_REDIRECT = "ota_redirect", "answers 302 to itself"
    OTA_SILENT = "ota_silent", "never answers"

    @property
    def is_of_answers(self) -> bool:
        """Whether an answer can play it."""
        return self is Scenario.NORMAL or self in _OF_ANSWERS


_NAMES = list(Scenario)
_OF_ANSWERS = frozenset(
    _NAMES[_NAMES.index(Scenario.RESET_MID_SPEECH) : _NAMES.index(Scenario.OTA_MQTT)]
)


def scenario_named(name: str | None, default: Scenario) -> Scenario:
    """The scenario of that name; ``default`` where there is none of it."""
    return next((one for one in Scenario if one.value == name), default)
