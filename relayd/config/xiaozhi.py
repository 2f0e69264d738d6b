"""The settings of xiaozhi devices and of the servers they talk to, in the manner of
:mod:`relayd.config.schema`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from relayd.config import kinds
from relayd.config.about import about
from relayd.config.mistakes import Wrong, quoted
from relayd.config.rules import Flag, Integer, Items, Seconds, Text
from relayd.config.secret import Secret

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

TOKEN_SECRET_MIN_BYTES: Final = 32
"""As long as what HMAC-SHA256 makes (RFC 2104 section 3)."""
PROTOCOL_VERSIONS: Final = (1, 2, 3)
PATTERN_MAX_CHARS: Final = 128
MESSAGE_MAX_BYTES: Final = 64 * 1024 * 1024
RECONNECTS_MAX: Final = 1000
COUNT_MAX: Final = 10**9
TEXTS_AT_ONCE: Final = 200
"""What a device has to say when it was held up, many times over."""

_FLAG: Final = Flag()
_SECONDS: Final = Seconds()


def _pattern_mistake(text: str) -> str | None:
    if 0 < len(text) <= PATTERN_MAX_CHARS and text.isprintable() and " " not in text:
        return None
    return f"expected 1 to {PATTERN_MAX_CHARS} characters without spaces, found {quoted(text)}"


_DEVICE: Final = Text("a device's id", _pattern_mistake)
_DEVICES: Final = Items("a list of devices", _DEVICE)
_SERVED: Final = Items(
    "a list of devices",
    _DEVICE,
    'an empty list lets no device through; write ["*"] for all, or leave the setting out',
)
_KINDS: Final = Items(
    "a list of patterns",
    Text("a pattern", _pattern_mistake),
    'an empty list lets no device through; write ["*"] for all, or leave the setting out',
)
_TOOLS: Final = Items("a list of tools", Text("a tool's name", _pattern_mistake))


@attrs.frozen
class DeviceTokenSecret:
    """What devices' tokens are signed with."""

    kind: str = attrs.field(default="a secret", init=False)

    def read(self, value: object, around: Surroundings) -> Secret:
        """The secret, resolved."""
        secret = kinds.ApiKey().read(value, around)
        if len(secret.reveal()) < TOKEN_SECRET_MIN_BYTES:
            raise Wrong.because(
                f"the secret is shorter than {TOKEN_SECRET_MIN_BYTES} bytes;"
                " `openssl rand -hex 32` makes one"
            )
        return secret


@attrs.frozen(kw_only=True)
class XiaozhiSettings:
    """``[xiaozhi]``: devices that speak the protocol of xiaozhi."""

    public_url: str | None = attrs.field(
        default=None,
        metadata=about(
            kinds.BASE_URL,
            "Where devices reach relayd, such as `https://relay.example`: what they are told by"
            " `/xiaozhi/ota/`, which answers 404 without it.",
            default="none",
        ),
    )
    token_secret: Secret | None = attrs.field(
        default=None,
        metadata=about(
            DeviceTokenSecret(),
            "A secret reference: what the tokens are signed with that devices get from"
            " `/xiaozhi/ota/`. Without it devices present keys.",
            default="none",
        ),
    )
    token_s: float = attrs.field(
        default=2_592_000.0, metadata=about(_SECONDS, "How long such a token is good.")
    )
    key: str | None = attrs.field(
        default=None,
        metadata=about(
            kinds.NAME,
            "The name of the key that devices with such a token count to: its tenant, limits,"
            " budget and expiry are theirs. Required with `token_secret`.",
            default="none",
        ),
    )
    reconnects_max: int = attrs.field(
        default=2,
        metadata=about(
            Integer(0, RECONNECTS_MAX),
            "How often the server of one session may be lost and another taken while the device"
            " stays.",
        ),
    )
    devices_allowed: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=about(
            _SERVED, "The devices that may come in. `*` stands for any run of characters."
        ),
    )
    devices_denied: tuple[str, ...] = attrs.field(
        default=(), metadata=about(_DEVICES, "Those that may not, though they are allowed above.")
    )
    tools_allowed: tuple[str, ...] = attrs.field(
        default=(),
        metadata=about(_TOOLS, "The tools of devices that may be called through the admin API."),
    )
    device_turns_per_minute: int = attrs.field(
        default=0,
        metadata=about(
            Integer(0, COUNT_MAX),
            "Turns of one device in a minute; behind one more its session ends. 0: no limit.",
        ),
    )
    device_audio_s_per_day: float = attrs.field(
        default=0.0,
        metadata=about(
            Seconds(zero=True),
            "Seconds of audio of one device in a day (UTC), both ways together; over it its"
            " session ends behind its turn. 0: no limit.",
        ),
    )
    device_messages_per_s: int = attrs.field(
        default=50,
        metadata=about(
            Integer(0, COUNT_MAX),
            f"Texts of one device in a second, and {TEXTS_AT_ONCE} at once; over it its"
            " session ends with 1008. Audio does not count. 0: no limit.",
        ),
    )
    message_max_bytes: int = attrs.field(
        default=1_048_576,
        metadata=about(
            Integer(1024, MESSAGE_MAX_BYTES), "Bytes of one message, of either side; then 1009."
        ),
    )
    hello_s: float = attrs.field(
        default=10.0,
        metadata=about(
            _SECONDS,
            "From the 101 to the device's hello, and from there to the server's: the device's own"
            " patience.",
        ),
    )


@attrs.frozen(kw_only=True)
class DeviceServerSettings:
    """``accounts.xiaozhi``: a server that devices talk to."""

    ota_url: str | None = attrs.field(
        default=None,
        metadata=about(
            kinds.BASE_URL,
            "Where its devices are told their settings, such as"
            " `https://host/xiaozhi/ota/`. Needs `xiaozhi.public_url` and `xiaozhi.token_secret`.",
            default="none",
        ),
    )
    protocol_version: int = attrs.field(
        default=1,
        metadata=about(
            Integer(PROTOCOL_VERSIONS[0], PROTOCOL_VERSIONS[-1]),
            "The framing of audio that it speaks: 1, 2 or 3. relayd translates for devices that"
            " speak another.",
        ),
    )
    auth_key: Secret | None = attrs.field(
        default=None,
        metadata=about(
            kinds.ApiKey(),
            "A secret reference: what the server signs its devices' tokens with; relayd makes them"
            " then. Without it a device's token is the one that `ota_url` gave for it, else"
            " `api_key`.",
            default="none",
        ),
    )
    devices: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=about(
            _SERVED, "The devices that it serves. `*` stands for any run of characters."
        ),
    )
    boards: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=about(
            _KINDS,
            "The boards whose devices it serves, by `board.type` or `board.name` of what they ask"
            " `/xiaozhi/ota/`. A device that has not asked there is served by `*` alone.",
        ),
    )
    firmware: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=about(
            _KINDS, "The versions of firmware that it serves, by `application.version`; likewise."
        ),
    )
    tenants: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=about(_KINDS, "The tenants, of keys, whose devices it serves."),
    )
    keep_mqtt: bool = attrs.field(
        default=False,
        metadata=about(
            _FLAG,
            "Whether devices are told of its MQTT gateway, which they prefer; relayd then sees"
            " what the gateway sends there.",
        ),
    )
