"""What a setting's attrs metadata says: the rule it is read by and its meaning."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.config.rules import Rule

_KEY: Final = "about"


@attrs.frozen(kw_only=True)
class About:
    """What is known of a setting beside its name, type and default.

    Attributes:
        rule: How it is read; ``None`` for a table of its own.
        meaning: One or two sentences for the operator.
        default: How the documentation names a default that is not a plain value.
        stand_in: For a setting without default: a valid value that lets the rest of a table be
            checked where this one is missing or mistaken. It is never used otherwise.
    """

    rule: Rule[object] | None
    meaning: str
    default: str | None = None
    stand_in: object = None


def about(
    rule: Rule[object] | None,
    meaning: str,
    *,
    default: str | None = None,
    stand_in: object = None,
) -> dict[str, About]:
    """The metadata of a setting; see :class:`About`."""
    return {_KEY: About(rule=rule, meaning=meaning, default=default, stand_in=stand_in)}


def about_of(field: attrs.Attribute[object]) -> About:
    """What the schema says about one of its fields."""
    known = field.metadata[_KEY]
    assert isinstance(known, About)
    return known
