"""Names with ``*`` in them, for models and dialects.

Only ``*`` is special, and it stands for any run of characters; case counts. A name is matched in
linear time, since a client chooses the name; Python's regular expressions do not promise that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.frozen
class _Glob:
    prefix: str
    middles: tuple[str, ...]
    suffix: str

    def matches(self, name: str) -> bool:
        start, end = len(self.prefix), len(name) - len(self.suffix)
        if start > end or not (name.startswith(self.prefix) and name.endswith(self.suffix)):
            return False
        # The leftmost place is always the best one: it leaves the most for the parts after it.
        for middle in self.middles:
            at = name.find(middle, start, end)
            if at < 0:
                return False
            start = at + len(middle)
        return True


@attrs.frozen
class Patterns:
    """A compiled list of patterns. A name matches if any of them does."""

    _exact: frozenset[str]
    _globs: tuple[_Glob, ...]

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Patterns:
        """Compile ``patterns``; any text is a valid one."""
        exact, globs = set[str](), list[_Glob]()
        for pattern in patterns:
            prefix, *middles = pattern.split("*")
            if middles:
                globs.append(_Glob(prefix, tuple(filter(None, middles[:-1])), middles[-1]))
            else:
                exact.add(pattern)
        return cls(frozenset(exact), tuple(globs))

    def matches(self, name: str) -> bool:
        """Whether any pattern matches the whole of ``name``."""
        return name in self._exact or any(glob.matches(name) for glob in self._globs)
