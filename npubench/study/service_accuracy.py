"""What a network loses in one mode against its own base mode, from figures that may be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npubench.ir import Network, PrecisionPlan
from npubench.study.result import Accuracy

if TYPE_CHECKING:
    from npubench.accuracy.published import PublishedAccuracy

__all__ = ["Delivered", "Executed", "compare_accuracy", "same_plan"]

_LOWER_IS_BETTER = frozenset({"perplexity"})
_DIGITS = 6  # tables have at most three decimals; the difference of two must not show more


@dataclass(frozen=True, slots=True)
class Executed:
    """A network under an executed plan, and what its run says of its accuracy."""

    network: Network
    plan: PrecisionPlan
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class Delivered:
    """Accuracy of a mode relative to the base mode.

    Attributes:
        base: of the base mode in the same measurement or publication; None where unknown.
        drop: points below it, negative for a gain; None where unknown.
        origin: ``measured``, the publication, or empty.
    """

    base: float | None
    drop: float | None
    origin: str = ""


def compare_accuracy(base: Executed, other: Executed) -> Delivered:
    """What ``other`` loses against ``base``.

    Two measurements on the same data compare. Published figures compare within one data set,
    method and source, never across them. A base of floats that nobody published is taken to be as
    accurate as the 32-bit network of the row it is compared with: its accuracy is that of the
    network before quantisation. The same plan loses nothing, measured or not.
    """
    if same_plan(base, other):
        return Delivered(base.accuracy.value, 0.0, _origin(base.accuracy))
    ours, theirs = base.accuracy, other.accuracy
    if ours.kind == theirs.kind == "measured" and ours.value is not None:
        if theirs.value is None or ours.metric != theirs.metric:
            return Delivered(ours.value, None)
        lost = ours.value - theirs.value
        lost = -lost if ours.metric in _LOWER_IS_BETTER else lost
        return Delivered(ours.value, round(lost, _DIGITS), "measured")
    return _published(base, other)


def same_plan(one: Executed, two: Executed) -> bool:
    """Whether every multiply-accumulate layer runs in the same formats."""
    return all(
        one.plan.of(layer.name) == two.plan.of(layer.name) for layer in one.network.mac_layers
    )


def _published(base: Executed, other: Executed) -> Delivered:
    from npubench.accuracy.published import fitting_rows

    rows = fitting_rows(other.network, other.plan)
    partners = fitting_rows(base.network, base.plan)
    for row in rows:
        for partner in partners:
            same = (row.dataset, row.method, row.source, row.fp32_top1)
            if same == (partner.dataset, partner.method, partner.source, partner.fp32_top1):
                return Delivered(partner.top1, round(partner.top1 - row.top1, _DIGITS), _cite(row))
    if _is_float(base):
        for row in rows:
            if row.fp32_top1 is not None:
                lost = round(row.fp32_top1 - row.top1, _DIGITS)
                return Delivered(row.fp32_top1, lost, _cite(row))
    return Delivered(base.accuracy.value, None)


def _cite(row: PublishedAccuracy) -> str:
    return "; ".join((row.dataset, row.method, row.source, row.confidence))


def _is_float(executed: Executed) -> bool:
    pairs = [executed.plan.of(layer.name) for layer in executed.network.mac_layers]
    return all(pair.weight.is_float and pair.activation.is_float for pair in pairs)


def _origin(accuracy: Accuracy) -> str:
    return "measured" if accuracy.kind == "measured" else accuracy.source or ""
