"""What a setting's metadata says."""

from __future__ import annotations

import attrs

from relayd.config.about import about, about_of
from relayd.config.rules import Flag


@attrs.frozen
class Table:
    plain: bool = attrs.field(default=True, metadata=about(Flag(), "A sentence."))
    inner: int = attrs.field(default=1, metadata=about(None, "A table.", default="none"))
    required: str = attrs.field(default="", metadata=about(None, "A name.", stand_in="a"))


def test_a_field_knows_its_rule_and_meaning() -> None:
    plain, inner, required = (about_of(field) for field in attrs.fields(Table))

    assert (plain.rule, plain.meaning, plain.default) == (Flag(), "A sentence.", None)
    assert (inner.rule, inner.default) == (None, "none")
    assert required.stand_in == "a"
