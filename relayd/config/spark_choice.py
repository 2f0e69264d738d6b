"""Which of Spark's models an account means, and what is wrong where it means none."""

from __future__ import annotations

import difflib
from typing import Final, Protocol

import attrs

from relayd.config.spark_models import (
    ASSISTANT,
    ASSISTANTS_PATH,
    CURRENT_DOMAINS,
    DOMAINS,
    FINE_TUNED,
    MODELS,
    VERSIONS,
    SparkModel,
)


class Choice(Protocol):
    """What an account says of its model; see :class:`relayd.config.spark.SparkSettings`."""

    @property
    def api_version(self) -> str | None:
        """A version of the table."""

    @property
    def domain(self) -> str | None:
        """A domain of the table, or another one."""

    @property
    def endpoint(self) -> str | None:
        """A path of the table, or another one."""

    @property
    def patch_id(self) -> tuple[str, ...]:
        """Resources of a fine-tuned model."""

    @property
    def context(self) -> int | None:
        """Instead of the row's, here and in what follows."""

    @property
    def max_out(self) -> int | None:
        """See :class:`SparkModel`."""

    @property
    def system(self) -> bool | None:
        """See :class:`SparkModel`."""

    @property
    def tools(self) -> bool | None:
        """See :class:`SparkModel`."""

    @property
    def reasoning(self) -> bool | None:
        """See :class:`SparkModel`."""


@attrs.frozen
class SparkMistake:
    """Why a choice names no model.

    Attributes:
        setting: The setting to change, of the ``spark`` table.
        message: What to do, for the operator.
    """

    setting: str
    message: str


def model_of(choice: Choice) -> SparkModel | SparkMistake:
    """The row that an account's table means, with what the table says instead of it.

    A row is found by its version, else by domain, by endpoint, or by both. Where several are given
    they must belong together; a new domain or path goes with the version of the row it replaces.
    """
    row = _row_of(choice)
    if isinstance(row, SparkMistake):
        return row
    said = {name: getattr(choice, name) for name in ("context", "max_out", "system", "tools")}
    changes = {name: value for name, value in said.items() if value is not None}
    if choice.max_out is not None and row.default_out is not None:
        changes["default_out"] = min(row.default_out, choice.max_out)
    if choice.reasoning is not None:
        changes["reasoning"] = choice.reasoning
    domain, endpoint = current_domain(choice) or row.domain, choice.endpoint or row.endpoint
    if domain is None:
        message = f"missing; {row.product} models have a domain of their own (the service's id)"
        return SparkMistake("domain", message)
    if endpoint is None:
        return SparkMistake("endpoint", f"missing; expected {ASSISTANTS_PATH} and the id")
    return attrs.evolve(row, domain=domain, endpoint=endpoint, **changes)


def mistake_in(choice: Choice) -> SparkMistake | None:
    """What is wrong with an account's choice, if anything is."""
    found = model_of(choice)
    return found if isinstance(found, SparkMistake) else None


def base_url_of(choice: Choice) -> str | None:
    """Where the chosen model is, for an account that does not say; ``None`` for no model."""
    found = model_of(choice)
    return None if isinstance(found, SparkMistake) else f"wss://{found.host}"


def current_domain(choice: Choice) -> str | None:
    """The domain that is chosen, by the name that is answered today.

    An assistant keeps what it says: there ``general`` is no retired name.
    """
    if choice.domain is None or _is_assistant(choice):
        return choice.domain
    return CURRENT_DOMAINS.get(choice.domain, choice.domain)


def _row_of(choice: Choice) -> SparkModel | SparkMistake:
    version = None if choice.api_version is None else _version(choice.api_version)
    if version is not None and version not in VERSIONS:
        shown = str(choice.api_version)[:32]
        return SparkMistake("api_version", f'no version "{shown}" is known; {_hint(version)}')
    if version is None and _is_assistant(choice):
        version = ASSISTANT
    if version is None and choice.patch_id:
        version = FINE_TUNED
    domain = current_domain(choice)
    rows = MODELS if version is None else tuple(row for row in MODELS if version in row.versions)
    if version in {ASSISTANT, FINE_TUNED}:
        return rows[0]
    named = version is not None
    for setting, value in (("domain", domain), ("endpoint", choice.endpoint)):
        known = {row.product for row in MODELS if value is not None and _has(row, setting, value)}
        if not known:
            continue
        narrowed = tuple(row for row in rows if row.product in known)
        if not narrowed:
            return SparkMistake(setting, _stranger(setting, known, rows))
        rows, named = narrowed, True
    if domain is not None and domain not in DOMAINS and version is None:
        return SparkMistake("domain", _UNKNOWN_DOMAIN)
    if not named:
        what = "missing" if choice.endpoint is None else "missing; this endpoint is not known"
        return SparkMistake("api_version", f"{what}; {_hint(None)}")
    return rows[0]


_UNKNOWN_DOMAIN: Final = (
    f"not known; known: {', '.join(DOMAINS)}. Name the api_version that it goes with, or"
    f' "{FINE_TUNED}" for a fine-tuned model'
)


def _has(row: SparkModel, setting: str, value: str) -> bool:
    return value == (row.domain if setting == "domain" else row.endpoint)


def _is_assistant(choice: Choice) -> bool:
    return choice.endpoint is not None and choice.endpoint.startswith(ASSISTANTS_PATH)


def _version(text: str) -> str:
    """``3.5`` and ``V3.5`` are ``v3.5``."""
    version = text.lower()
    return f"v{version}" if version[:1].isdigit() else version


def _hint(version: str | None) -> str:
    close = difflib.get_close_matches(version or "", VERSIONS, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(VERSIONS)}"


def _stranger(setting: str, known: set[str], rows: tuple[SparkModel, ...]) -> str:
    owners = ", ".join(row.product for row in MODELS if row.product in known)
    meant = " or ".join(row.product for row in rows)
    return f"this {setting} belongs to Spark {owners}, the rest of the table means {meant}"
