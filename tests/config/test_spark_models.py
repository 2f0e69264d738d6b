"""The table of Spark's models."""

from __future__ import annotations

from relayd.config.spark_models import CURRENT_DOMAINS, DOMAINS, MODELS, VERSIONS


def test_where_each_model_is_and_what_it_can_do() -> None:
    """As the vendor's pages have it; a number that changes is changed here too, knowingly."""
    assert {
        (row.product, row.endpoint, row.domain, row.context, row.max_out, row.system, row.tools)
        for row in MODELS
    } == {
        ("Lite", "/v1.1/chat", "lite", 8192, 4096, False, False),
        ("V2.0", "/v2.1/chat", "generalv2", 8192, None, False, False),
        ("Pro", "/v3.1/chat", "generalv3", 8192, 8192, False, False),
        ("Pro-128K", "/chat/pro-128k", "pro-128k", 131_072, 4096, False, False),
        ("Max", "/v3.5/chat", "generalv3.5", 8192, 8192, True, True),
        ("Max-32K", "/chat/max-32k", "max-32k", 32_768, 8192, True, False),
        ("4.0 Ultra", "/v4.0/chat", "4.0Ultra", 8192, 8192, True, True),
        ("科技文献", "/v1.1/chat_kjwx", "kjwx", None, None, False, False),
        ("X1.5", "/v1/x1", "spark-x", 65_536, 65_535, True, True),
        ("X1", "/v1/x1", "x1", 65_536, 32_768, True, False),
        ("X1-Preview", "/v1/reasoner-x1-preview", "x1", 65_536, None, False, False),
        ("X2", "/x2", "spark-x", 196_608, None, True, False),
        ("fine-tuned", "/v1.1/chat", None, None, None, True, False),
        ("assistant", None, None, None, 4096, False, False),
    }


def test_the_rows_do_not_contradict_themselves() -> None:
    for row in MODELS:
        assert row.versions == tuple(version.lower() for version in row.versions)
        assert row.max_out is None or row.default_out is None or row.default_out <= row.max_out
        assert row.domain not in CURRENT_DOMAINS


def test_what_can_be_named() -> None:
    assert len(set(VERSIONS)) == len(VERSIONS)
    assert len(set(DOMAINS)) == len(DOMAINS)
    assert set(CURRENT_DOMAINS.values()) <= set(DOMAINS)
