"""A row is written once and never changed."""

from __future__ import annotations

import attrs
import pytest

from tests.ledger.filled import row


def test_a_row_never_changes() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        row(1).tokens_in = 7  # type: ignore[misc]  # that it cannot be assigned to is the point


def test_what_is_not_known_is_not_nought() -> None:
    unknown = {field.name for field in attrs.fields(type(row(1))) if field.default is None}

    of_devices = {"audio_in_s", "audio_out_s", "hello_ms", "stt_ms"}
    assert unknown == {"seconds", "cost_nano", "ttft_ms", "duration_ms"} | of_devices
