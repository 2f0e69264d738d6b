"""Secrets: how the file refers to them, and the two values that hold them.

An account's key has to be sent, so its text is kept in a :class:`Secret`. A client's key only has
to be recognised, so nothing but its SHA-256 is kept, in a :class:`KeyDigest`.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import attrs

from relayd.config.mistakes import Unavailable, Wrong, path_shown, quoted

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

DIGEST_PREFIX: Final = "sha256:"
SECRET_FILE_MAX_BYTES: Final = 65_536
"""A credential is a line of text; a file much longer than one is the wrong file."""

_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME_SHOWN_MAX: Final = 64
_PREFIX: Final = re.compile(r"(env|file|sha256):", re.IGNORECASE)
_PREFIXES: Final = ("ENV:", "FILE:", DIGEST_PREFIX)
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")


class Secret:
    """A text that must not be shown: ``repr``, ``str`` and formatting hide it.

    Not an attrs class, so that ``attrs.asdict`` of what holds it does not unpack it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold ``text``; only :meth:`reveal` gives it back."""
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the wire and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(**)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


@attrs.frozen
class KeyDigest:
    """The SHA-256 of a client's key, 32 bytes: enough to recognise the key, not to use it."""

    sha256: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, secret: str) -> KeyDigest:
        """The digest of a key's text."""
        return cls(digest(secret))

    def __str__(self) -> str:
        return "KeyDigest(**)"

    def reference(self) -> str:
        """The form that the configuration takes: ``sha256:<hex>``."""
        return DIGEST_PREFIX + self.sha256.hex()


def digest(presented: str | bytes) -> bytes:
    """SHA-256 of a key as a client presents it. Takes any text whatever, lone surrogates too."""
    if isinstance(presented, str):
        presented = presented.encode("utf-8", "surrogatepass")
    return hashlib.sha256(presented).digest()


def parse_digest(reference: str) -> KeyDigest:
    """The digest in ``sha256:<hex>``. Raises :class:`Wrong`."""
    hexadecimal = reference.removeprefix(DIGEST_PREFIX)
    if not _DIGEST.fullmatch(hexadecimal):
        raise Wrong.because(
            "expected 64 hexadecimal digits after sha256:; `relayd key new NAME` prints such a line"
        )
    return KeyDigest(bytes.fromhex(hexadecimal))


def resolve(text: str, around: Surroundings) -> str:
    """What a secret reference stands for: ``ENV:NAME``, ``FILE:path``, or the text itself.

    ``sha256:…`` is returned as it is. Raises :class:`Wrong` for a malformed reference and
    :class:`Unavailable` where the variable or the file is missing.
    """
    prefix = _PREFIX.match(text)
    if prefix and prefix.group() not in _PREFIXES:
        raise Wrong.because(f"write the prefix as one of {', '.join(_PREFIXES)}, in that case")
    match text.partition(":"):
        case ("ENV", ":", name):
            return _from_environment(name, around)
        case ("FILE", ":", path):
            return _from_file(path, around)
        case _:
            return text


def _from_environment(name: str, around: Surroundings) -> str:
    if not _ENVIRONMENT_NAME.fullmatch(name):
        # Not repeated: what stands there may be the secret itself.
        raise Wrong.because("expected the name of an environment variable after ENV:")
    value = around.environ.get(name)
    if not value:
        # In capitals it is a variable's name; else it may be a secret that strayed here.
        shown = name if name.isupper() and len(name) <= _NAME_SHOWN_MAX else quoted(name)
        state = "is not set" if value is None else "is empty"
        raise Unavailable.because(f"the environment variable {shown} {state}; set it, or use FILE:")
    return value


def _from_file(name: str, around: Surroundings) -> str:
    if not name:
        raise Wrong.because("expected a path after FILE:")
    path = around.credential(name)
    # Without a slash it may be no path at all, but a secret that strayed here.
    shown = path_shown(str(path)) if "/" in name else f"the file {quoted(name)}"
    content = around.read(path, max_bytes=SECRET_FILE_MAX_BYTES, shown=shown)
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not content.strip():
        raise Unavailable.because(f"{shown} is empty")
    if not text:
        raise Wrong.because(f"{shown} holds more than ASCII text")
    return text.rstrip("\r\n")
