"""What metrics are made of: their kinds, and the buckets of their histograms."""

from __future__ import annotations

from typing import Final

from relayd.observe.metrics_labels import Kind, Label, Spec

# Admission has 8 s by default; first output takes an upstream tenths of a second to seconds, a
# whole response up to minutes, a session up to an hour; a request over HTTP is anything between a
# look at memory and a whole response; a turn waits for its socket up to 12 s; the loop aims at
# pauses below 10 ms.
ADMISSION_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
OUTPUT_S: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
TURN_S: Final = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
REQUEST_S: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0)
WAIT_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0, 12.0)
SESSION_S: Final = (1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1200.0, 1800.0, 3600.0)
PAUSE_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


def counter(name: str, meaning: str, normal: str, remedy: str, *labels: Label) -> Spec:
    """What only grows."""
    return Spec(Kind.COUNTER, f"relayd_{name}", meaning, normal, remedy, labels)


def gauge(name: str, meaning: str, normal: str, remedy: str, *labels: Label) -> Spec:
    """What goes up and down."""
    return Spec(Kind.GAUGE, f"relayd_{name}", meaning, normal, remedy, labels)


def histogram(
    buckets: tuple[float, ...], name: str, meaning: str, normal: str, remedy: str, *labels: Label
) -> Spec:
    """How long something takes, in ``buckets`` of seconds."""
    return Spec(Kind.HISTOGRAM, f"relayd_{name}", meaning, normal, remedy, labels, buckets)
