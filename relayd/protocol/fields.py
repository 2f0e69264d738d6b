"""Header fields: looked up by name, split into items, written so that nothing can be injected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")


@attrs.frozen(repr=False, kw_only=True)
class Fields:
    """The header fields of one head.

    Attributes:
        headers: Names in lower case and values without surrounding blanks, in order.
    """

    headers: tuple[tuple[bytes, bytes], ...]
    _values: dict[bytes, bytes] = attrs.field(init=False, eq=False)

    @_values.default
    def _join_values(self) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}
        for name, value in self.headers:
            values[name] = values[name] + b", " + value if name in values else value
        return values

    def get(self, name: str) -> str | None:
        """The value of a header by its lower-case name, or ``None``.

        Lines of a header that may be repeated are joined by commas (RFC 9110 section 5.3).
        """
        value = self._values.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def get_all(self, name: str) -> tuple[str, ...]:
        """The values of every line of a header, in order."""
        wanted = name.encode()
        return tuple(value.decode("latin-1") for key, value in self.headers if key == wanted)

    def get_list(self, name: str) -> tuple[str, ...]:
        """The items of a comma-separated header, in order, empty ones left out."""
        joined = self.get(name)
        if joined is None:
            return ()
        items = [item.strip(" \t") for item in joined.split(",")]
        return tuple([item for item in items if item])

    def names_token(self, name: str, token: str) -> bool:
        """Whether a comma-separated header holds ``token`` (lower case), in whatever case."""
        return token in [item.lower() for item in self.get_list(name)]

    def __repr__(self) -> str:
        """Counts only: any value may hold a key."""
        return f"<{type(self).__name__}(headers={len(self.headers)})>"


def is_token(text: str) -> bool:
    """Whether ``text`` is an HTTP token (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def is_field_value(text: str) -> bool:
    """Whether ``text`` can be sent as a header's value: printable ASCII, no line end."""
    return _VALUE.fullmatch(text) is not None


def encode_head(first_line: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """A head of HTTP/1.1, ready to send; ``first_line`` is the caller's to have checked.

    Raises:
        ValueError: A name is no token or a value holds more than printable ASCII, such as a line
            end that would begin another header. The text names the header, never its value.
    """
    lines = [first_line]
    for name, value in headers:
        if not is_token(name):
            raise ValueError("a header's name must be a token")
        if not is_field_value(value):
            raise ValueError(f"the value of header {name} must be printable ASCII")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
