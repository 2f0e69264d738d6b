"""From TOML's tables to the schema's frozen values, with every mistake noted on the way.

cattrs walks the classes and gathers what went wrong; each field is read by the rule in its
metadata. A table with mistakes is read once more without them, so that there always is a value
for the checks between settings to look at; it never leaves :mod:`relayd.config.load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import attrs
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError, override
from cattrs.gen import make_dict_structure_fn

from relayd.config.about import about_of
from relayd.config.mistakes import Mistake, Unavailable, Wrong, key_path
from relayd.config.rules import expected, nearest
from relayd.config.schema import (
    AccountSettings,
    DeviceServerSettings,
    DialectSettings,
    HubKeepalive,
    HubSettings,
    KeySettings,
    LedgerSettings,
    LimitSettings,
    LogSettings,
    PoolSettings,
    ResponsesSettings,
    ServerSettings,
    StateSettings,
    Timeouts,
    TlsSettings,
    XiaozhiKeepalive,
    XiaozhiSettings,
)
from relayd.config.spark import ChatDefaults, SparkSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relayd.config.files import Surroundings
    from relayd.config.rules import Rule

T = TypeVar("T", bound=attrs.AttrsInstance)

Tables: TypeAlias = tuple[type[attrs.AttrsInstance], ...]

TABLES: Final[Tables] = (
    TlsSettings,
    Timeouts,
    ResponsesSettings,
    HubKeepalive,
    XiaozhiKeepalive,
    DeviceServerSettings,
    SparkSettings,
    ChatDefaults,
    ServerSettings,
    LimitSettings,
    PoolSettings,
    LogSettings,
    StateSettings,
    LedgerSettings,
    DialectSettings,
    HubSettings,
    XiaozhiSettings,
    KeySettings,
    AccountSettings,
)


class TableReader:
    """Reads the tables of one file and keeps the mistakes found in them."""

    def __init__(self, around: Surroundings, tables: Tables = TABLES) -> None:
        """Read relative to ``around``: its environment, its directory.

        A reader takes half a millisecond to make for each of ``tables``, which are those of the
        file. Inner ones come first: the outer ones' functions look theirs up when they are made.
        """
        self._converter = Converter(detailed_validation=True)
        self.mistakes: list[Mistake] = []
        for table in tables:
            hook = _structure_hook(table, self._converter, around)
            self._converter.register_structure_hook(table, hook)

    def table(self, cls: type[T], raw: object, path: str) -> T:
        """The value of one table. Where mistakes were noted, it stands in for the meant one."""
        try:
            return self._converter.structure(raw, cls)
        except ClassValidationError as group:
            mistaken = self._note(group, raw, path)
        except Wrong as wrong:
            self.mistakes.extend(wrong.under(path).mistakes)
            raw, mistaken = {}, set()
        assert isinstance(raw, dict)
        sound = {name: value for name, value in raw.items() if name not in mistaken}
        return self._converter.structure(_stand_ins(cls) | sound, cls)

    def tables(self, cls: type[T], raw: object, path: str) -> tuple[T, ...]:
        """The values of an array of tables."""
        if not isinstance(raw, list):
            refusal = expected(f"tables that start with [[{path}]]", raw)
            self.mistakes.extend(refusal.under(path).mistakes)
            return ()
        return tuple(self.table(cls, each, f"{path}[{index}]") for index, each in enumerate(raw))

    def _note(self, group: ClassValidationError, raw: object, path: str) -> set[str]:
        """Keep the mistakes in ``group``; the names of the entries that hold them."""
        # What is switched off may point to a variable or file that is not there.
        is_disabled = isinstance(raw, dict) and raw.get("enabled") is False
        mistaken = set[str]()
        for name, refusal in _refusals(group):
            mistaken.add(name)
            if not (is_disabled and isinstance(refusal, Unavailable)):
                self.mistakes.extend(refusal.under(path).mistakes)
        return mistaken


def _structure_hook(
    cls: type[T], converter: Converter, around: Surroundings
) -> Callable[[object, object], T]:
    """How a table becomes a ``cls``: known names only, each read by its rule."""
    overrides = {
        field.name: override(struct_hook=_field_hook(rule, around))
        for field in attrs.fields(cls)
        if (rule := about_of(field).rule) is not None
    }
    structure = make_dict_structure_fn(
        cls,
        converter,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
        **overrides,  # type: ignore[arg-type]  # for its options, as far as mypy can know
    )

    def read(raw: object, _: object) -> T:
        if not isinstance(raw, dict):
            raise expected("a table", raw)
        return structure(raw, cls)

    return read


def _field_hook(rule: Rule[object], around: Surroundings) -> Callable[[object, object], object]:
    def read(value: object, _: object) -> object:
        return rule.read(value, around)

    return read


def _refusals(group: ClassValidationError) -> Iterator[tuple[str, Wrong]]:
    """Each refusal in what cattrs raised, with the entry of the table that holds it."""
    noted, others = group.group_exceptions()
    for exc, note in noted:
        match exc:
            case Wrong():
                yield note.name, exc.under(note.name)
            case ClassValidationError():
                for _, refusal in _refusals(exc):
                    yield note.name, refusal.under(note.name)
            case KeyError():
                yield note.name, _missing(note.name, group.cl).under(note.name)
            case _:
                raise exc
    for exc in others:
        if not isinstance(exc, ForbiddenExtraKeysError):
            raise exc
        names = tuple(field.name for field in attrs.fields(exc.cl))
        for name in sorted(exc.extra_fields):
            yield name, unknown(name, names)


def unknown(name: str, names: tuple[str, ...]) -> Wrong:
    """The refusal of an entry that is none of ``names``."""
    hint = nearest(name, names) or f"known here: {', '.join(names)}"
    return Wrong(Mistake(key_path(name), f"unknown setting; {hint}"))


def _missing(name: str, cls: type[attrs.AttrsInstance]) -> Wrong:
    rule = about_of(getattr(attrs.fields(cls), name)).rule
    return Wrong.because(f"missing; expected {rule.kind}" if rule else "missing")


def _stand_ins(cls: type[attrs.AttrsInstance]) -> dict[str, object]:
    """Valid values for what has no default, so that a table can always be made."""
    about = ((field.name, about_of(field)) for field in attrs.fields(cls))
    return {name: known.stand_in for name, known in about if known.stand_in is not None}
