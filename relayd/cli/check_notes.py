"""What is no mistake in a configuration, and yet hardly meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relayd.config.patterns import Patterns
from relayd.core.money import nano_of, usd_of
from relayd.dialect.meter import TurnAsk, Usage
from relayd.ledger.costs import reserve_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relayd.config.schema import KeySettings, Settings

_LONGEST: Final = TurnAsk(now=0.0, expected=Usage(source="response"))
"""A turn whose client sets no limit, with nothing said before it."""


def notes(settings: Settings) -> Iterator[str]:
    """Keys whose budget does not bear one longest response of any model they may use.

    Models that are billed by time have no longest response, and are left out.
    """
    for key in settings.keys:
        if not (key.enabled and key.budget_usd):
            continue
        names = _names(key, settings)
        longest = [
            nano
            for price in settings.prices.prices
            if any(overlap(name, model) for name in names for model in price.models)
            and (nano := reserve_for(_LONGEST, price, key.price_factor))
        ]
        if longest and nano_of(key.budget_usd) < min(longest):
            least = f"{usd_of(min(longest)).normalize():f}"
            yield (
                f"key {key.name} has a budget of {key.budget_usd:f} US dollars, and {least} are"
                " set aside for the longest response of the cheapest model priced by tokens that"
                " it may use: no turn begins unless it asks for a shorter one"
            )


def _names(key: KeySettings, settings: Settings) -> set[str]:
    """Names and patterns of what accounts may call the key's models."""
    asked = Patterns.of(key.models)
    mapped = {
        name
        for account in settings.accounts
        if account.enabled
        for model, name in account.model_map.items()
        if asked.matches(model)
    }
    return mapped | set(key.models)


def overlap(one: str, other: str) -> bool:
    """Whether there is a name that both match; in each, ``*`` stands for any run of characters."""
    reached, ends = {(0, 0)}, (len(one), len(other))
    waiting = [(0, 0)]
    while waiting and ends not in reached:
        at, beside = waiting.pop()
        star = one[at : at + 1] == "*", other[beside : beside + 1] == "*"
        steps = set[tuple[int, int]]()
        if any(star):
            steps = {(at + 1, beside), (at, beside + 1)}
        elif one[at : at + 1] == other[beside : beside + 1]:
            steps = {(at + 1, beside + 1)}
        new = {step for step in steps - reached if step[0] <= ends[0] and step[1] <= ends[1]}
        reached |= new
        waiting.extend(new)
    return ends in reached
