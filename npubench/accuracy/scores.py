"""What outputs are worth: right answers of a classifier, surprise of a language model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from npubench.accuracy.statistics import Z95, wilson

__all__ = ["ClassScore", "TextScore", "next_token_losses", "score_classes", "score_text"]

Outputs = npt.NDArray[Any]


@dataclass(frozen=True)
class ClassScore:
    """Answers of a classifier; shares are 0 to 1.

    Attributes:
        predictions: the class of each sample; the lowest of equals.
        margins: best minus second-best score of each sample.
        top1, top5: share of right answers, and of right ones among the best five; None for the
            latter with five classes or fewer.
        interval: Wilson's 95 % interval of ``top1``.
    """

    predictions: npt.NDArray[np.int64]
    margins: npt.NDArray[np.float64]
    top1: float
    top5: float | None
    interval: tuple[float, float]


def score_classes(outputs: Outputs, labels: npt.NDArray[np.int64]) -> ClassScore:
    """Score outputs [samples, classes] against labels."""
    scores = np.asarray(outputs, np.float64)
    predictions = np.argmax(scores, 1).astype(np.int64)
    right = int(np.sum(predictions == labels))
    best = np.sort(scores, 1)[:, -2:]
    top5 = None
    if scores.shape[1] > 5:
        own = scores[np.arange(len(labels)), labels][:, None]
        top5 = float(np.mean(np.sum(scores > own, 1) < 5))
    return ClassScore(
        predictions=predictions,
        margins=best[:, -1] - best[:, 0],
        top1=right / len(labels),
        top5=top5,
        interval=wilson(right, len(labels)),
    )


@dataclass(frozen=True)
class TextScore:
    """Perplexity: e to the mean negative log-likelihood of the next token.

    Attributes:
        perplexity: over all predicted tokens.
        tokens: how many were predicted.
        interval: 95 %, from the spread of the log-likelihoods, taken as independent.
    """

    perplexity: float
    tokens: int
    interval: tuple[float, float]


def score_text(losses: npt.NDArray[np.float64]) -> TextScore:
    """Score negative log-likelihoods in nats, one per predicted token."""
    mean = float(np.mean(losses))
    half = Z95 * float(np.std(losses, ddof=1)) / math.sqrt(len(losses)) if len(losses) > 1 else 0.0
    return TextScore(math.exp(mean), len(losses), (math.exp(mean - half), math.exp(mean + half)))


def next_token_losses(outputs: Outputs, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Negative log-likelihood of every token but the first of each row.

    Args:
        outputs: unnormalised scores [rows, length, vocabulary].
        tokens: [rows, length].
    """
    scores = np.asarray(outputs, np.float64)[:, :-1]
    scores = scores - scores.max(-1, keepdims=True)
    totals = np.log(np.exp(scores).sum(-1))
    own = np.take_along_axis(scores, tokens[:, 1:, None], -1)[..., 0]
    return np.asarray((totals - own).reshape(-1))
