from __future__ import annotations

from array import array

from bench.hub_series import joined, pack, unpack


def test_series_come_out_as_they_went_in_empty_ones_too() -> None:
    series = [array("q", [1, 2]), array("q"), array("q", [-3])]

    assert unpack(pack(*series)) == series


def test_series_of_several_reports_are_joined_place_by_place() -> None:
    reports = [
        pack(array("q", [1]), array("q", [2])),
        pack(array("q", [3, 4]), array("q")),
    ]

    assert joined(reports) == [array("q", [1, 3, 4]), array("q", [2])]
