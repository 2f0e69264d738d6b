"""What an Autobahn report says of each case, and which of it is not good enough."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import attrs

CASES = 301
"""Groups 1 to 10 of the suite, all of which must have been run."""

PASSED = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})
CLOSED_WELL = frozenset({"OK", "INFORMATIONAL"})
ERROR_CODES = frozenset({1002, 1007})


@attrs.frozen
class Outcome:
    """One case, as the fuzzer saw it."""

    case: str
    behaviour: str
    closing: str
    close_code: int | None
    """The code of the Close that reached the fuzzer; None if none did, or one without a code."""
    close_codes_expected: frozenset[int]

    def complaint(self) -> str | None:
        """Return what is wrong, or None.

        The suite is content with a dropped connection where a peer must fail it. This is not: the
        fuzzer has to have seen a Close that says why (RFC 6455 section 7.1.7).
        """
        if self.behaviour not in PASSED:
            return f"{self.case}: {self.behaviour}"
        if self.closing not in CLOSED_WELL:
            return f"{self.case}: closed {self.closing} with {self.close_code}"
        error_expected = self.close_codes_expected <= ERROR_CODES
        if error_expected and self.close_code not in self.close_codes_expected:
            codes = " or ".join(map(str, sorted(self.close_codes_expected)))
            return f"{self.case}: closed with {self.close_code} instead of {codes}"
        return None


def read(directory: Path, agent: str) -> tuple[Outcome, ...]:
    """Return the outcomes that the suite wrote about ``agent``, in the order of its index.

    Raises:
        OSError: there is no report.
        KeyError: it does not mention that agent.
    """
    index = json.loads((directory / "index.json").read_text())
    return tuple(
        _outcome(case, json.loads((directory / row["reportfile"]).read_text()))
        for case, row in index[agent].items()
    )


def _outcome(case: str, details: dict[str, object]) -> Outcome:
    match details:
        case {
            "behavior": str(behaviour),
            "behaviorClose": str(closing),
            "remoteCloseCode": int() | None as close_code,
            "expectedClose": {"closeCode": list(expected)},
        }:
            return Outcome(case, behaviour, closing, close_code, frozenset(expected))
    raise ValueError(f"case {case}: not a report of a finished case")


def complaints(outcomes: Iterable[Outcome], *, cases: int = CASES) -> list[str]:
    """Return every reason not to accept the report; ``cases`` is how many it must speak of."""
    known = list(outcomes)
    missing = [] if len(known) == cases else [f"{len(known)} cases of {cases} have a report"]
    return missing + [text for outcome in known if (text := outcome.complaint())]


def summary(outcomes: Iterable[Outcome]) -> str:
    """Say how often each behaviour was seen, and name the cases that are less than OK."""
    known = list(outcomes)
    counts = Counter(outcome.behaviour for outcome in known)
    lines = [", ".join(f"{count} {behaviour}" for behaviour, count in counts.most_common())]
    for behaviour in counts.keys() - {"OK"}:
        cases = " ".join(outcome.case for outcome in known if outcome.behaviour == behaviour)
        lines.append(f"{behaviour}: {cases}")
    return "\n".join(lines)
