"""Where the ledger is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from relayd.config.storage import parse_ledger_url


def ledger_path(url: str, environ: Mapping[str, str]) -> Path | None:
    """The database file that ``ledger.url`` names; ``None`` for a ledger in memory.

    Args:
        url: ``sqlite:path`` or ``sqlite::memory:``, as the configuration takes it.
        environ: A relative path starts in its ``$STATE_DIRECTORY``, of which systemd may set
            several with colons between them (systemd.exec(5)): in the first one. Without, it
            starts in the working directory.

    Raises:
        ValueError: ``url`` is neither; the configuration would have refused it.
    """
    path = parse_ledger_url(url)
    return None if path is None else Path(environ.get("STATE_DIRECTORY", "").split(":")[0], path)
