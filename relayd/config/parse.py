"""TOML out of bytes that may be anything."""

from __future__ import annotations

import tomllib


def parse_toml(content: bytes) -> dict[str, object] | str:
    """The document in a file's content, or what keeps it from being one, in words.

    Nothing is raised: the parser's own error holds the text of the file, and with it secrets.
    """
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        return f"not UTF-8 text (at line {line})"
    except RecursionError:
        return "the file is nested too deeply"
    except ValueError as exc:  # tomllib's own error, and Python's about very long numbers
        return f"not valid TOML: {exc}"
