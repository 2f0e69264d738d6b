"""What the numbers of a request may be at Spark, by model and by the way they go there.

Source: the vendor's pages Web.html and X1ws.html for WebSockets, HTTP调用文档.html and X1http.html
(of 2025-11-03) for HTTP. A number beyond its range would have the whole request refused (10004,
10005), so the nearest one that is allowed goes up instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from relayd.config.spark_models import SparkModel

OPEN: Final = 0.01
"""The least of a range that is open at 0, where clients mean "as little chance as possible"."""

Ranges = Mapping[str, tuple[float, float]]
"""By parameter: the least and the most, both allowed."""

_OF_X: Final[Ranges] = {
    "temperature": (OPEN, 2.0),
    "top_p": (OPEN, 1.0),
    "top_k": (1, 6),
    "presence_penalty": (0.0, 3.0),
    "frequency_penalty": (0.0, 1.0),
}
_OVER_WEBSOCKET: Final[Ranges] = {"temperature": (OPEN, 1.0), "top_k": (1, 6)}
_OVER_HTTP: Final[Ranges] = {
    "temperature": (0.0, 2.0),
    "top_p": (OPEN, 1.0),
    "top_k": (1, 6),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}


def ranges_of(model: SparkModel, *, over_http: bool = False) -> Ranges:
    """The numbers that a model knows, and what each may be; it is sent no others."""
    if model.reasoning:
        return _OF_X
    return _OVER_HTTP if over_http else _OVER_WEBSOCKET


def fitted(value: float, limits: tuple[float, float]) -> float:
    """The nearest number to ``value`` that is allowed; a whole number where the limits are."""
    least, most = limits
    return min(max(type(least)(value), least), most)


def limited(asked: int | None, model: SparkModel) -> int | None:
    """``max_tokens``: what was asked for, at most what the model gives; ``None``: not sent."""
    if asked is None or model.max_out is None:
        return asked
    return min(asked, model.max_out)
