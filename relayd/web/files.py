"""The dashboard's files as values: read once, from the installed package.

There is no build step: what stands in ``static`` is what a browser gets.
"""

from __future__ import annotations

from importlib import resources
from types import MappingProxyType
from typing import Final

FOLDER: Final = "static"

CONTENT_TYPES: Final = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)
"""By the end of the name. A browser runs a module only under a type of JavaScript."""


def load_files() -> dict[str, tuple[str, bytes]]:
    """Every file of the dashboard: its name, its ``Content-Type`` and its bytes.

    Raises:
        FileNotFoundError: The package was installed without them.
        ValueError: A file is of no type that is served.
    """
    files = {}
    for file in resources.files(__package__).joinpath(FOLDER).iterdir():
        if file.is_file():
            files[file.name] = content_type(file.name), file.read_bytes()
    return files


def content_type(name: str) -> str:
    """What a file is served as. Raises :class:`ValueError` for one that is not served."""
    end = name[name.rfind(".") :]
    try:
        return CONTENT_TYPES[end]
    except KeyError:
        raise ValueError(f"{name} is of no type that is served") from None
