"""Measured matrix products of a TPU v4 against the cycles of the array model."""

from __future__ import annotations

from npubench.errors import OptionError, Problem
from npubench.ir import LoopNest, MacLayer, Network, Role, Tensor, parse_format
from npubench.machines.protocol import evaluate
from npubench.study.studies.record import Cell, StudyColumn, StudyContext, StudySection
from npubench.study.studies.tables import Row, read_table

__all__ = ["matmul_section", "r_squared", "spread_evenly"]

# R^2 of two predictors on the same sweeps, as published beside the measurements.
_OTHERS = {"128": (0.79, 0.35), "1024": (0.942, 0.950)}

_ARRAY = ("compute", "weight_load", "fill_drain")


def r_squared(predicted: list[float], measured: list[float]) -> float:
    """Share of the variance that a straight line through the prediction explains, 0 to 1."""
    count = len(measured)
    mean_x, mean_y = sum(predicted) / count, sum(measured) / count
    sxx = sum((x - mean_x) ** 2 for x in predicted)
    syy = sum((y - mean_y) ** 2 for y in measured)
    sxy = sum((x - mean_x) * (y - mean_y) for x, y in zip(predicted, measured, strict=True))
    return sxy * sxy / (sxx * syy) if sxx and syy else 0.0


def spread_evenly(rows: list[Row], count: int) -> list[Row]:
    """So many rows, evenly spread over all of them."""
    step = max(1.0, len(rows) / count)
    return [rows[int(index * step)] for index in range(min(count, len(rows)))]


def product(m: int, n: int, k: int) -> Network:
    """C[m, n] = A[m, k] B[k, n] in BF16."""
    half = parse_format("bf16")
    tensors = {
        "a": Tensor("a", (m, k), half, Role.INPUT),
        "b": Tensor("b", (k, n), half, Role.INPUT),
        "c": Tensor("c", (m, n), half, Role.ACTIVATION),
    }
    layer = MacLayer(
        name="product",
        op="MatMul",
        inputs=("a", "b"),
        outputs=("c",),
        nest=LoopNest(OX=m, K=n, C=k, input_extent=(1, 1, m)),
        data="a",
        weight="b",
    )
    return Network("product", tensors, (layer,), ("a", "b"), ("c",))


def matmul_section(context: StudyContext) -> StudySection:
    """R^2 of three predictors on each sweep."""
    text = context.settings["matmuls"]
    if not text.isdecimal() or int(text) < 10:
        raise OptionError(Problem(f"--set matmuls={text}: expected a whole number from 10"))
    machine = context.session.machine("tpuv4i", {}, {})
    table = read_table("workloads", "validation/tpu_v4_matmul.csv")
    rows: list[tuple[Cell, ...]] = []
    for sweep, (scalesim, macs_published) in _OTHERS.items():
        every = [row for row in table if row.text("sweep") == sweep]
        chosen = spread_evenly(every, max(10, int(text) * len(every) // len(table)))
        measured = [row.number("mean_us") for row in chosen]
        seconds, array, macs = [], [], []
        for row in chosen:
            m, n, k = (int(row.number(name)) for name in "mnk")
            network = product(m, n, k)
            plan = machine.legalise(network, None).executed
            cost = evaluate(machine, network, plan)
            seconds.append(cost.latency_s)
            causes = cost.latency_by_cause
            array.append(float(sum(causes.get(cause, 0) for cause in _ARRAY)))
            macs.append(float(m * n * k))
        scale = sum(measured) * 1e-6 / sum(seconds)
        rows.append(
            (
                sweep,
                len(chosen),
                len(every),
                r_squared(seconds, measured),
                r_squared(array, measured),
                r_squared(macs, measured),
                scalesim,
                macs_published,
                1 / scale,
            )
        )
    return StudySection(
        key="matmul",
        title="TPU v4, measured matrix products: share of variance that a predictor explains (R2)",
        columns=(
            StudyColumn("sweep", "Extents to"),
            StudyColumn("products", "Products", "fixed", decimals=0),
            StudyColumn("of", "Of", "fixed", decimals=0),
            StudyColumn("r2", "Ours", "fixed", decimals=3),
            StudyColumn("r2_array", "Array alone", "fixed", decimals=3),
            StudyColumn("r2_macs", "MACs", "fixed", decimals=3),
            StudyColumn("r2_scalesim_published", "SCALE-Sim", "fixed", published=True, decimals=3),
            StudyColumn("r2_macs_published", "MACs", "fixed", published=True, decimals=3),
            StudyColumn("time_ratio", "Time/measured", "ratio"),
        ),
        rows=tuple(rows),
        notes=(
            "Ours: time, or the array's cycles alone, of the tpuv4i spec, whose arrays and clock "
            "one core of TPU v4 has; its memories differ. A floor of about 1.1 us in the "
            "measurements is the launch of a kernel, which the model leaves out: time/measured is "
            "total predicted over total measured time.",
            "Source: scalesim-project/SCALE-Sim-validation, commit 45818f1, MIT licence.",
        ),
    )
