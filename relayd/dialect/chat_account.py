"""What every provider behind the chat dialect sees of an account.

:class:`relayd.config.snapshot.Account` is a :class:`ChatAccount`. Its class is not named by the
providers: it knows of dates and files, and this package is tested without either.
"""

from __future__ import annotations

from typing import Protocol

from relayd.config.url import Url


class Concealed(Protocol):
    """A secret; see :class:`relayd.config.secret.Secret`."""

    def reveal(self) -> str:
        """The text itself, for the wire and for nothing else."""


class Defaults(Protocol):
    """What a request gets where it is silent; see :class:`relayd.config.spark.ChatDefaults`."""

    @property
    def temperature(self) -> float | None:
        """Of the request's range, here and in what follows; ``None``: the upstream's own."""

    @property
    def top_p(self) -> float | None:
        """See :class:`Defaults`."""

    @property
    def top_k(self) -> int | None:
        """See :class:`Defaults`."""

    @property
    def presence_penalty(self) -> float | None:
        """See :class:`Defaults`."""

    @property
    def frequency_penalty(self) -> float | None:
        """See :class:`Defaults`."""

    @property
    def max_tokens(self) -> int | None:
        """See :class:`Defaults`."""


class ChatAccount(Protocol):
    """As much of an account as every provider needs."""

    @property
    def base_url(self) -> Url | None:
        """Where the upstream is."""

    @property
    def api_key(self) -> Concealed | None:
        """What relayd presents there."""

    @property
    def defaults(self) -> Defaults:
        """What a request gets where it is silent."""
