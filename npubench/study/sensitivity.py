"""What narrowing a layer loses: measured on the network, or from a published table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from npubench.errors import InputError, OptionError, Problem
from npubench.ir import FORMATS, LayerPrecision, Network, PrecisionPlan, integer
from npubench.precision.published import published_plans
from npubench.specs.catalog import data_folder

if TYPE_CHECKING:
    from npubench.accuracy.evaluator import Evaluator

__all__ = ["SENSITIVITIES", "Sensitivity", "hawq_table", "measure_sensitivity", "published_loss"]

SENSITIVITIES = ("noise", "drop", "hawq")
_HAWQ_WIDTHS = (8, 4)

Sensitivity = Mapping[tuple[str, LayerPrecision], float]


def measure_sensitivity(
    evaluator: Evaluator,
    groups: Sequence[Sequence[str]],
    precisions: Sequence[LayerPrecision],
    kind: str,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[tuple[int, LayerPrecision], float]:
    """Loss of each group at each precision, everything else in float.

    Args:
        evaluator: of the float network.
        groups: names of the layers that change together.
        precisions: to try.
        kind: ``noise``, the power of the error of the network's output over that of the output
            (errors of different layers are taken as independent, so that powers add up), or
            ``drop``, the points of top-1 lost.
        on_step: called with measurements done and in all.

    Raises:
        InputError: a network that is quantised already, or is no classifier for ``drop``.
    """
    import numpy as np

    from npubench.accuracy.rewrite import rewrite
    from npubench.accuracy.runtime import Network as Runtime

    clean = evaluator.reference_outputs.astype(np.float64)
    power = float(np.sum(clean**2)) or 1.0
    labels = None
    if kind == "drop":
        labels = evaluator.dataset.labels
        if labels is None or clean.ndim != 2:
            raise InputError(
                f"'{evaluator.model.name}' is no classifier: there is no top-1 to drop"
            )
        labels = labels[evaluator.indices]
    floats = LayerPrecision(FORMATS["fp32"], FORMATS["fp32"])
    found: dict[tuple[int, LayerPrecision], float] = {}
    done, total = 0, len(groups) * len(precisions)
    for index, layers in enumerate(groups):
        runtimes: dict[object, Runtime] = {}
        for precision in precisions:
            plan = PrecisionPlan(floats, dict.fromkeys(layers, precision))
            prepared = evaluator.prepare(plan, fed=layers)
            # Widths are inputs of the graph, so all integer precisions share one session; biases
            # and everything else that is folded in is left to the float network.
            layout = replace(prepared.layout, biases={})
            key = tuple(f.name if f.is_float else "int" for f in layout.activations.values())
            if key not in runtimes:
                runtimes[key] = Runtime(rewrite(evaluator.model, layout), threads=evaluator.threads)
            out = evaluator.outputs(runtimes[key], prepared.feeds).astype(np.float64)
            if labels is None:
                loss = float(np.sum((out - clean) ** 2)) / power
            else:
                right = [np.mean(o.argmax(1) == labels) for o in (clean, out)]
                loss = 100 * float(right[0] - right[1])
            found[index, precision] = loss
            done += 1
            if on_step is not None:
                on_step(done, total)
    return found


@cache
def hawq_table(network: str) -> Mapping[str, tuple[float, float]] | None:
    """HAWQ-V3's loss of each layer at 8 and 4 bits, by its names; None for other networks.

    The loss is Hessian trace per parameter x squared weight error (arXiv:2011.10680, section 3.3).
    """
    file = next((f for f in published_plans() if network in f.networks), None)
    if file is None:
        return None
    path = data_folder("workloads") / "precision" / f"{file.name}_sensitivity.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as opened:
        return {
            row["name"]: (
                float(row["hessian_trace_per_param"]) * float(row["weight_sq_error_int8"]),
                float(row["hessian_trace_per_param"]) * float(row["weight_sq_error_int4"]),
            )
            for row in csv.DictReader(opened)
        }


def published_loss(
    network: Network, precisions: Sequence[LayerPrecision]
) -> dict[tuple[str, LayerPrecision], float]:
    """HAWQ-V3's losses by layer of a network; layers that the table leaves out have none.

    Raises:
        OptionError: no table for this network, or not at these widths.
    """
    table = hawq_table(network.name)
    if table is None:
        known = sorted({n for f in published_plans() for n in f.networks})
        raise OptionError(
            Problem(
                f"--sensitivity hawq: there is no published sensitivity for '{network.name}'",
                hint=f"there is for {', '.join(known)}; noise and drop are measured with --dataset",
            )
        )
    native = {LayerPrecision(integer(b), integer(b)): i for i, b in enumerate(_HAWQ_WIDTHS)}
    strange = [str(p) for p in precisions if p not in native]
    if strange:
        raise OptionError(
            f"--sensitivity hawq: published for {', '.join(map(str, native))}, "
            f"not for {', '.join(strange)}"
        )
    file = next(f for f in published_plans() if network.name in f.networks)
    names = {
        known.name: layer.name for known, layer in zip(file.layers, network.mac_layers, strict=True)
    }
    return {
        (names[name], precision): losses[native[precision]]
        for name, losses in table.items()
        for precision in precisions
    }
