from __future__ import annotations

from relayd.observe import metrics_document
from relayd.observe.metrics import Metric


def test_the_file_says_what_the_table_says() -> None:
    written = metrics_document.PATH.read_text(encoding="utf-8")

    assert written == metrics_document.document(), "run: make fix"


def test_every_metric_is_in_it_with_all_that_is_known_of_it() -> None:
    text = metrics_document.document()

    for metric in Metric:
        spec = metric.spec
        assert f"## `{spec.name}`\n" in text
        for sentence in (spec.meaning, spec.normal, spec.remedy):
            assert sentence in text


def test_a_metric_shows_its_labels_with_their_values_and_its_buckets() -> None:
    text = metrics_document.document()

    assert "- `direction`: to the upstream or to the client: `up`, `down`\n" in text
    assert "- `account`: name of the account in the configuration\n" in text
    assert "- Buckets, in seconds: 1, 5, 15, 60, 180, 600, 1200, 1800, 3600\n" in text
    assert "as in `session.ended`: the words are in [events.md](events.md)\n" in text
    assert "- `status`: the HTTP status, 0 if no response was begun: those of RFC 9110" in text
