"""Records written by hand, so that reports are tested without any model behind them."""

from __future__ import annotations

from dataclasses import replace

from npubench.ir import parse_precision
from npubench.machines.protocol import ConstantUse, LayerCost
from npubench.study.result import (
    Accuracy,
    Comparison,
    Coverage,
    CoverageClass,
    HardwareStamp,
    OperatorCoverage,
    Options,
    Ratio,
    RunResult,
    Stamp,
    Sweep,
    SweepPoint,
    Totals,
    WorkloadStamp,
)

STAMP = Stamp(npubench="0.1.0", onnx="1.23.2", onnxruntime="1.31.1", numpy="2.4.6", seed=0)
TOTALS = Totals(
    macs=4_089_184_256,
    cycles=1_000_000,
    latency_s=0.001,
    energy_j=0.0084,
    edp_js=8.4e-6,
    throughput_ips=1000.0,
    tops_per_watt=0.9736,
    utilization=0.342,
    area_mm2=400.0,
    latency_by_cause={"compute": 750_000, "stall_dram_weight": 249_900, "drain": 100},
    energy_by_component={"mac": 0.0042, "dram": 0.0021, "sram": 0.0021},
)


def coverage_class(ops: int, share: float) -> CoverageClass:
    return CoverageClass(ops, int(4e9 * share), int(1e6 * share), 1e-3 * share, *(share,) * 3)


MODELLED = Coverage(
    modelled=coverage_class(2, 1.0),
    approximated=coverage_class(0, 0.0),
    unknown=coverage_class(0, 0.0),
    operators=(OperatorCoverage("Conv", "modelled", 2, "", 4_000_000_000, 1_000_000, 1e-3),),
)
PARTIAL = Coverage(
    modelled=coverage_class(2, 0.9),
    approximated=coverage_class(1, 0.1),
    unknown=coverage_class(1, 0.0),
    operators=(
        OperatorCoverage("Conv", "modelled", 2, "", 4_000_000_000, 900_000, 9e-4),
        OperatorCoverage("Erf", "approximated", 1, "as one special op", 0, 100_000, 1e-4),
        OperatorCoverage("com.acme.Foo", "unknown", 1, "no such operator", 0, 0, 0.0),
    ),
)


def make_run(workload: str = "resnet50", hardware: str = "tpuv4i") -> RunResult:
    w8a8 = parse_precision("w8a8")
    return RunResult(
        stamp=STAMP,
        workload=WorkloadStamp(workload, "ab" * 32, TOTALS.macs, 25_530_472, 2, 1_000_000),
        hardware=HardwareStamp(hardware, "array", "cd" * 32, {"clock": "1.05 GHz"}, 7.0),
        options=Options(batch=1, dims={}, precision=None, knobs={}, overrides={}),
        requested={"conv1": "w8a8"},
        executed={"conv1": "w8a8"},
        precision_summary=("w8a8", "w8a8"),
        totals=TOTALS,
        layers=(
            LayerCost(
                "conv1",
                "Conv",
                4_089_184_256,
                {"compute": 750_000, "stall_dram_weight": 249_900},
                {"mac": 0.0042, "dram": 0.0021, "sram": 0.002},
                utilization=0.342,
                precision=w8a8,
            ),
            LayerCost("relu1", "Relu", 0, {"drain": 100}, {"sram": 0.0001}),
        ),
        clock_hz=1e9,
        accuracy=Accuracy(),
        coverage=MODELLED,
        assumptions=("weights stay in DRAM between inferences",),
        constants=(
            ConstantUse("array.mac_energy", "0.5 pJ", "assumed", "", 0.0042),
            ConstantUse("memory.dram.energy", "4 pJ/bit", "published", "A paper, Table 2", 0.0021),
            ConstantUse("memory.sram.energy", "1 pJ/bit", "recalled", "A talk", 0.00005),
        ),
    )


def make_comparison() -> Comparison:
    faster = replace(TOTALS, latency_s=0.0005, edp_js=4.2e-6, throughput_ips=2000.0)
    runs = []
    for workload in ("resnet50", "bert_base"):
        base = make_run(workload)
        other = make_run(workload, "edge8")
        node = replace(other.hardware, node_nm=28.0)
        runs += [base, replace(other, totals=faster, hardware=node)]
    ratios = [
        Ratio(workload, hardware, *values)
        for workload in ("resnet50", "bert_base", "geomean")
        for hardware, values in (
            ("tpuv4i", (1.0, 1.0, 1.0, 1.0)),
            ("edge8", (0.5, 1.0, 0.5, 2.0)),
        )
    ]
    return Comparison("tpuv4i", tuple(runs), tuple(ratios))


def make_sweep() -> Sweep:
    slow = replace(TOTALS, latency_s=0.002, edp_js=1.68e-5, throughput_ips=500.0)
    points = (
        SweepPoint({"clock": "500 MHz"}, "resnet50", "tpuv4i", "ok", slow),
        SweepPoint({"clock": "1 GHz"}, "resnet50", "tpuv4i", "ok", TOTALS),
        SweepPoint(
            {"clock": "9 GHz"}, "resnet50", "tpuv4i", "failed", error="clock: above 2 GHz\n  hint"
        ),
    )
    return Sweep((("clock", ("500 MHz", "1 GHz", "9 GHz")),), points, STAMP)
