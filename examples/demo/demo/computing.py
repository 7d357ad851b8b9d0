"""Work that keeps a core busy: a model is trained, a dataset described."""

import csv
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict


class Model(TypedDict):
    """A logistic regression: its weights in the features' order, its bias, its share of right answers."""

    weights: list[float]
    bias: float
    accuracy: float


class Column(TypedDict):
    """What is said of one numeric column."""

    count: int
    mean: float
    deviation: float
    minimum: float
    median: float
    maximum: float
    correlation: dict[str, float]


def read_columns(path: Path) -> dict[str, list[float]]:
    """Read a CSV file of numbers with a header.

    Args:
        path: The file.

    Returns:
        The columns by name, in the file's order.

    Raises:
        ValueError: A field is no number, or a row is too short or too long.
    """
    with path.open(newline="") as stream:
        reader = csv.reader(stream)
        names = next(reader)
        rows = [[float(field) for field in row] for row in reader]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def logistic(score: float) -> float:
    """Return the probability that belongs to a score, for any score without overflow."""
    return 1 / (1 + math.exp(-score)) if score >= 0 else 1 - 1 / (1 + math.exp(score))


def train(
    points: Sequence[Sequence[float]], labels: Sequence[float], epochs: int = 10, rate: float = 0.05
) -> Model:
    """Fit a logistic regression by stochastic gradient descent.

    Args:
        points: One sequence of features for each example.
        labels: 0 or 1 for each example.
        epochs: Passes over all examples.
        rate: Step size.
    """
    weights = [0.0] * len(points[0])
    bias = 0.0
    for _ in range(epochs):
        for point, label in zip(points, labels, strict=True):
            score = bias + sum(w * x for w, x in zip(weights, point, strict=True))
            step = rate * (label - logistic(score))
            weights = [w + step * x for w, x in zip(weights, point, strict=True)]
            bias += step
    right = sum(
        (bias + sum(w * x for w, x in zip(weights, point, strict=True)) > 0) == bool(label)
        for point, label in zip(points, labels, strict=True)
    )
    return {"weights": weights, "bias": bias, "accuracy": right / len(labels)}


def describe(columns: dict[str, list[float]]) -> dict[str, Column]:
    """Describe each column, and how it goes with each other one.

    Args:
        columns: At least two values in each; a constant column correlates with nothing (0).
    """
    return {
        name: {
            "count": len(values),
            "mean": statistics.fmean(values),
            "deviation": statistics.pstdev(values),
            "minimum": min(values),
            "median": statistics.median(values),
            "maximum": max(values),
            "correlation": {
                other: _correlation(values, columns[other]) for other in columns if other != name
            },
        }
        for name, values in columns.items()
    }


def _correlation(left: list[float], right: list[float]) -> float:
    try:
        return statistics.correlation(left, right)
    except statistics.StatisticsError:
        return 0.0
