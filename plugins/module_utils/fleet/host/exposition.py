"""A page of metrics in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from .metrics import METRICS, PREFIX

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Page:
    """Collects samples of the metrics that there are, and no others."""

    def __init__(self) -> None:
        self._samples: dict[str, list[str]] = {}

    def add(self, name: str, value: float | None, **labels: str) -> None:
        """Add a sample.

        Args:
            name: The metric, without the prefix.
            value: Its value; none adds nothing.
            labels: The labels that the metric has.
        """
        if value is not None:
            self._add(name, name, labels, value)

    def add_states(self, name: str, label: str, states: Sequence[str], state: str, **labels: str) -> None:
        """Add a sample for each state: 1 for that which holds, 0 for the others."""
        for each in states:
            self.add(name, float(each == state), **labels, **{label: each})

    def add_histogram(self, name: str, total: float, buckets: Sequence[float], **labels: str) -> None:
        """Add a histogram.

        Args:
            name: The metric, without the prefix.
            total: The sum of all values.
            buckets: How many values fell between two edges, the last one beyond the last edge.
            labels: The labels that the metric has.
        """
        count = 0.0
        for edge, values in zip((*METRICS[name].edges, "+Inf"), buckets, strict=True):
            count += values
            self._add(name, f"{name}_bucket", labels, count, le=str(edge))
        self.add_summary(name, total, count, **labels)

    def add_summary(self, name: str, total: float, count: float, **labels: str) -> None:
        """Add a summary without quantiles: the sum of all values, and their number."""
        self._add(name, f"{name}_sum", labels, total)
        self._add(name, f"{name}_count", labels, count)

    def text(self) -> str:
        """Return the page, in the order of the catalogue."""
        return "".join(self._lines())

    def _add(self, metric: str, name: str, labels: dict[str, str], value: float, **more: str) -> None:
        if set(labels) != set(METRICS[metric].labels):
            raise KeyError(f"{metric} has the labels {METRICS[metric].labels}, not {tuple(labels)}")
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in (labels | more).items())
        number = int(value) if float(value).is_integer() else value
        line = f"{PREFIX}{name}{{{shown}}} {number}\n" if shown else f"{PREFIX}{name} {number}\n"
        self._samples.setdefault(metric, []).append(line)

    def _lines(self) -> Iterator[str]:
        for name, metric in METRICS.items():
            if name in self._samples:
                yield f"# HELP {PREFIX}{name} {metric.help}.\n"
                yield f"# TYPE {PREFIX}{name} {metric.kind}\n"
                yield from self._samples[name]


def quantile(share: float, edges: Sequence[float], buckets: Sequence[float]) -> float | None:
    """Estimate a quantile as Prometheus does, by a straight line within the bucket.

    Args:
        share: Which one, such as 0.95.
        edges: Upper edges of the buckets.
        buckets: How many values fell between two edges, the last one beyond the last edge.

    Returns:
        The value, the last edge if it is beyond; none if there are no values.
    """
    sums = [sum(buckets[: place + 1]) for place in range(len(buckets))]
    if not sums or not sums[-1]:
        return None
    rank = share * sums[-1]
    place = bisect_left(sums, rank)
    if place >= len(edges):
        return edges[-1]
    below, lower = (sums[place - 1], edges[place - 1]) if place else (0, 0.0)
    return lower + (edges[place] - lower) * (rank - below) / (sums[place] - below)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
