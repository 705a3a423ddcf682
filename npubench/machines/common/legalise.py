"""Legalisation: which of a machine's formats each layer runs in.

The rule: a layer keeps the narrowest pair of formats of the machine that holds its requested pair
exactly (integers by width, floats by exponent and significand, an integer in a float by its
significand). Nothing is ever narrowed; where no pair holds the request, that is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from npubench.errors import MappingError, Problem
from npubench.ir import LayerPrecision, Network, PrecisionPlan
from npubench.machines.protocol import Legalised

__all__ = ["legalise"]


def legalise(
    network: Network,
    requested: PrecisionPlan | None,
    native: Sequence[LayerPrecision],
    default: LayerPrecision,
    machine: str,
) -> Legalised:
    """Widen a plan, layer by layer, to what a machine executes.

    Args:
        network: its multiply-accumulate layers get an entry each.
        requested: None for the machine's default.
        native: pairs the machine executes.
        default: the pair used when nothing was requested.
        machine: name, for messages.

    Raises:
        MappingError: naming every precision without an equal or wider native pair, and the layers.
    """
    plan = requested or PrecisionPlan(default, source=f"default of {machine}")
    chosen: dict[LayerPrecision, LayerPrecision | None] = {}
    homeless: dict[LayerPrecision, list[str]] = {}
    executed: dict[str, LayerPrecision] = {}
    widened: list[str] = []
    for layer in network.mac_layers:
        wanted = plan.of(layer.name)
        if wanted not in chosen:
            chosen[wanted] = _narrowest(wanted, native)
        got = chosen[wanted]
        if got is None:
            homeless.setdefault(wanted, []).append(layer.name)
            continue
        executed[layer.name] = got
        if (got.weight.bits, got.activation.bits) != (wanted.weight.bits, wanted.activation.bits):
            widened.append(layer.name)
    if homeless:
        raise MappingError(*(_no_home(*item, native, machine) for item in homeless.items()))
    fallback = _narrowest(plan.default, native) or default
    return Legalised(plan, PrecisionPlan(fallback, executed, source=plan.source), tuple(widened))


def _narrowest(wanted: LayerPrecision, native: Sequence[LayerPrecision]) -> LayerPrecision | None:
    wide_enough = [
        pair
        for pair in native
        if pair.weight.holds(wanted.weight) and pair.activation.holds(wanted.activation)
    ]
    return min(wide_enough, key=lambda pair: pair.weight.bits + pair.activation.bits, default=None)


def _no_home(
    wanted: LayerPrecision, layers: list[str], native: Sequence[LayerPrecision], machine: str
) -> Problem:
    formats = ", ".join(str(pair) for pair in native)
    more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return Problem(
        f"'{machine}' has no format that holds {wanted} (layer '{layers[0]}'{more})",
        hint=f"it executes {formats}: ask for one of these, or for less",
    )
