"""Our values for published figures of accelerators, each by the name of its published row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from npubench import units
from npubench.errors import OptionError, Problem
from npubench.ir import parse_network
from npubench.machines.protocol import LayerCost, evaluate
from npubench.study.result import RunResult
from npubench.study.run import RunRequest
from npubench.study.run import run as run_once
from npubench.study.studies.record import StudyContext

__all__ = [
    "Figures",
    "cmem_figures",
    "eyeriss_figures",
    "gemmini_figures",
    "nvdla_figures",
    "other_figures",
    "tpuv1_figures",
    "tpuv4i_figures",
]

_BUFFER_ENERGIES = ("memories.buffer.read_energy", "memories.buffer.write_energy")
_MLP_BATCH, _MLP_SIDE, _MLP_LAYERS = 200, 2000, 5
# Batch for the CMEM sweep, and networks in place of the production ones, which are not public.
_CMEM_NETWORKS, _CMEM_BATCH = ("resnet50", "inception_v3", "bert_base", "vgg16"), 4


@dataclass(frozen=True)
class Figures:
    """Values of one machine.

    Attributes:
        values: (value, note) by the published row's name, in that row's unit.
        missing: why the other rows have none.
        notes: how the values came about.
    """

    values: Mapping[str, tuple[float, str]]
    missing: str
    notes: tuple[str, ...] = field(default=())


def _run(
    context: StudyContext,
    workload: str,
    hardware: str,
    batch: int = 1,
    knobs: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> RunResult:
    request = RunRequest(
        workload=workload,
        hardware=hardware,
        batch=batch,
        knobs=dict(knobs or {}),
        overrides=dict(overrides or {}),
    )
    return run_once(request, context.session)


def _convolutions(result: RunResult) -> list[LayerCost]:
    return [layer for layer in result.layers if layer.op == "Conv"]


def _joules_but(layer: LayerCost, component: str) -> float:
    return layer.energy_j - layer.energy_by_component.get(component, 0.0)


def eyeriss_figures(context: StudyContext) -> Figures:
    """AlexNet's convolutions, batch 4, at 200 MHz, and its frame rate at the clock of 1.17 V."""
    batch = 4
    result = _run(context, "alexnet_bvlc", "eyeriss", batch)
    alone = _run(context, "alexnet_bvlc", "eyeriss", batch, overrides={"layer_overlap": "none"})
    fast = _run(context, "alexnet_bvlc", "eyeriss", batch, {"clock": "250 MHz"})
    layers, clock = _convolutions(result), result.clock_hz
    # The buffer's reads and writes cost the same, so joules over joules a byte count its bytes.
    prices = {c.text for c in result.constants if c.path in _BUFFER_ENERGIES}
    (price,) = prices
    per_byte = 8 * units.parse_any(price).value
    values: dict[str, tuple[float, str]] = {}
    seconds = sum(layer.cycles for layer in layers) / clock
    joules = batch * math.fsum(_joules_but(layer, "dram") for layer in layers)
    macs = batch * sum(layer.macs for layer in layers)
    dram = sum(layer.off_chip_bytes for layer in layers)
    buffer = batch * math.fsum(layer.energy_by_component["buffer"] for layer in layers)
    values["throughput"] = (batch / seconds, "")
    values["effective compute"] = (macs / seconds / 1e9, "")
    values["power without DRAM"] = (joules / seconds * 1e3, "")
    values["efficiency"] = (macs / joules / 1e9, "")
    busy = sum(layer.latency_by_cause["compute"] for layer in layers)
    values["active PEs"] = (macs / (168 * busy) * 100, "MACs a PE and computing cycle")
    note = "the chip compresses zeros, the model does not"
    values["DRAM traffic"] = (dram / 1e6, note)
    values["DRAM accesses of 16 bit a MAC"] = (dram / 2 / macs, note)
    values["global buffer accesses"] = (buffer / per_byte / 1e6, "")
    values["frame rate at 1.17 V"] = (
        batch / sum(layer.cycles for layer in _convolutions(fast)) * fast.clock_hz,
        "at the 250 MHz of that supply",
    )
    for layer, apart in zip(layers, _convolutions(alone), strict=True):
        time = layer.cycles / clock
        own = batch * _joules_but(layer, "dram")
        values[f"{layer.name} power"] = (own / time * 1e3, "")
        values[f"{layer.name} total time"] = (apart.cycles / clock * 1e3, "layers not overlapped")
        values[f"{layer.name} processing time"] = (time * 1e3, "")
        bytes_moved = batch * layer.energy_by_component["buffer"] / per_byte
        values[f"{layer.name} global buffer"] = (bytes_moved / 1e6, "")
        values[f"{layer.name} DRAM"] = (layer.off_chip_bytes / 1e6, note)
    return Figures(values, "the spec has no voltage law")


def tpuv1_figures(context: StudyContext) -> Figures:
    """A stand-in for MLP0 with the published number of layers, weights and batch."""
    lines = [f"network mlp0\ninput x0 int8[{_MLP_BATCH},{_MLP_SIDE}]"]
    for i in range(_MLP_LAYERS):
        lines.append(f"weight w{i} int8[{_MLP_SIDE},{_MLP_SIDE}]")
    for i in range(_MLP_LAYERS):
        lines.append(
            f"mac fc{i} MatMul (x{i} w{i}) -> x{i + 1} int8[{_MLP_BATCH},{_MLP_SIDE}] : "
            f"OX{_MLP_BATCH} K{_MLP_SIDE} C{_MLP_SIDE} in=1,1,{_MLP_BATCH}"
        )
    network = parse_network("\n".join([*lines, f"output x{_MLP_LAYERS}\n"]))
    machine = context.session.machine("tpuv1", {}, {})
    cost = evaluate(machine, network, machine.legalise(network, None).executed)
    peak = machine.info.peak_macs_per_s
    causes, cycles = cost.latency_by_cause, cost.cycles
    stall = sum(n for cause, n in causes.items() if cause.startswith("stall:ddr3."))
    useful = network.macs / (peak * cost.latency_s) * 100
    values = {
        "peak": (2 * peak / 1e12, ""),
        "MLP0 achieved": (2 * network.macs / cost.latency_s / 1e12, ""),
        "MLP0 array active": (causes.get("compute", 0) / cycles * 100, ""),
        "MLP0 useful MACs": (useful, ""),
        "MLP0 weight stall": (stall / cycles * 100, "waiting for the weight memory"),
        "MLP0 weight shift": (
            causes.get("weight_load", 0) / cycles * 100,
            "double-buffered: hidden behind the stall",
        ),
        "MLP0 inferences at batch 200": (
            _MLP_BATCH / cost.latency_s,
            "published at a bound of 7 ms with its host; ours the engine alone",
        ),
    }
    return Figures(values, "layer shapes are not public")


def tpuv4i_figures(context: StudyContext) -> Figures:
    """Peak rates and the throughput of ResNet-50."""
    text = context.settings["batch"]
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(Problem(f"--set batch={text}: expected a whole number from 1"))
    result = _run(context, "resnet50", "tpuv4i", int(text))
    machine = context.session.machine("tpuv4i", {}, {})
    int8 = context.session.machine("tpuv4i", {}, {"array.default_format": "int8"})
    rate = result.totals.throughput_ips
    note = f"batch {text}; published as a range relative to another chip"
    values = {
        "peak BF16": (2 * machine.info.peak_macs_per_s / 1e12, ""),
        "peak INT8": (2 * int8.info.peak_macs_per_s / 1e12, "no faster than BF16"),
        "ResNet-50 lower end": (rate, note),
        "ResNet-50 upper end": (rate, note),
    }
    return Figures(values, "the applications and the other chips are not modelled")


def cmem_figures(context: StudyContext) -> Figures:
    """Performance with less CMEM, weights staying on chip as far as it pays."""
    rates: dict[int, list[float]] = {}
    for mebibytes in (1, 16, 72, 112, 128):
        knobs = {"mode": "base", "weights": "kept", "cmem": f"{mebibytes} MiB"}
        rates[mebibytes] = [
            _run(context, name, "stimpack", _CMEM_BATCH, knobs).totals.throughput_ips
            for name in _CMEM_NETWORKS
        ]
    values: dict[str, tuple[float, str]] = {}
    for mebibytes in (0, 16, 72, 112):
        logs = [
            math.log(some / full)
            for some, full in zip(rates[mebibytes or 1], rates[128], strict=True)
        ]
        note = "" if mebibytes else "1 MiB: a level cannot be left out"
        values[f"{mebibytes} MiB"] = (100 * math.exp(math.fsum(logs) / len(logs)), note)
    return Figures(
        values,
        "",
        (
            f"Geometric mean of {', '.join(_CMEM_NETWORKS)} at batch {_CMEM_BATCH} in BF16 on the "
            "core of TPUv4i (spec stimpack, base mode). Published: production applications, whose "
            "weights and batches are not public: a shape to compare, not values.",
        ),
    )


def nvdla_figures(context: StudyContext) -> Figures:
    """ResNet-50 on the five configurations of the primer."""
    values: dict[str, tuple[float, str]] = {}
    for macs in (2048, 1024, 256, 64, 32):
        hardware = "nvdla_large" if macs >= 1024 else "nvdla_small"
        result = _run(context, "resnet50_v1", hardware, 1, {"config": str(macs)})
        totals = result.totals
        values[f"{macs} MACs, ResNet-50"] = (totals.throughput_ips, "")
        joules = totals.energy_j - totals.energy_by_component.get("dram", 0.0)
        milliwatts = joules / totals.latency_s * 1e3
        values[f"{macs} MACs, average power at 16 nm"] = (milliwatts, "without DRAM")
    yolo = _run(context, "yolov3", "nvdla_large", 1, {"config": "2048"})
    note = "size of its input is not stated; ours as shipped"
    values["2048 MACs, YOLOv3 on nv_large"] = (yolo.totals.throughput_ips, note)
    return Figures(values, "the model has no peak power")


def gemmini_figures(context: StudyContext) -> Figures:
    """ResNet-50 in batches of four; one image at 1 GHz; a larger array."""
    four = _run(context, "resnet50", "gemmini", 4).totals
    one = _run(context, "resnet50", "gemmini").totals
    larger = _run(
        context,
        "resnet50",
        "gemmini",
        1,
        overrides={
            "array.rows": "64",
            "array.cols": "64",
            "memories.accumulators.port_width": "2048 bit/cycle",
            "memories.scratchpad.port_width": "1024 bit/cycle",
        },
    ).totals
    utilization = 100 * (four.utilization or 0.0)
    values = {
        "ResNet-50, batch 4": (float(four.cycles), ""),
        "ResNet-50, batch 4, utilisation": (utilization, ""),
        "utilisation with pooling offloaded": (utilization, "pooling beside the array in both"),
        "ResNet-50 at 1 GHz": (one.throughput_ips, "batch 1"),
        "cycles of 16x16 over 64x64 array, ResNet-50": (
            one.cycles / larger.cycles,
            "wider on-chip ports, same capacities and DRAM",
        ),
    }
    return Figures(values, "no CPU is modelled")


def other_figures(_context: StudyContext) -> Figures:
    """No spec ships for these."""
    return Figures({}, "no spec ships for it")
