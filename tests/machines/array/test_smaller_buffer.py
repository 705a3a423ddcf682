"""A smaller outermost memory makes no layer faster where layers do not overlap (docs/models.md)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from npubench.errors import MappingError
from npubench.ir import LayerPrecision, LoopNest, PrecisionPlan
from npubench.machines.array.cost import cost_network
from npubench.machines.array.mapping import map_network
from npubench.machines.array.spec import ArraySpec
from npubench.machines.protocol import Cost, Objective
from npubench.specs.catalog import find_spec
from tests.machines.array.test_search import network_of

# The outermost memory on chip of each machine, and what makes the machine small.
MACHINES = {
    "ws32x32_int8": (
        "buffer",
        {
            "array.rows": "4",
            "array.cols": "4",
            "memories.accumulator.capacity": "256 B",
            "memories.accumulator.port_width": "128 bit/cycle",
        },
    ),
    "edge8": (
        "buffer",
        {
            "layer_overlap": "none",
            "array.rows": "2",
            "array.cols": "2",
            "memories.accumulators.capacity": "64 B",
            "memories.accumulators.port_width": "64 bit/cycle",
            "memories.buffer.port_width": "24 bit/cycle",
            "memories.lpddr4.bandwidth": "1 GB/s",
        },
    ),
    "tpuv4i": (
        "cmem",
        {
            "layer_overlap": "none",
            "weights": "fetched",
            "array.rows": "2",
            "array.cols": "2",
            "array.count": "1",
            "array.default_format": "int8",
            "memories.accumulators.capacity": "32 B",
            "memories.accumulators.port_width": "64 bit/cycle",
            "memories.vmem.capacity": "192 B",
            "memories.vmem.port_width": "24 bit/cycle",
            "memories.cmem.port_width": "10 bit/cycle",
            "memories.hbm.bandwidth": "1 GB/s",
        },
    ),
}


@st.composite
def layers(draw: st.DrawFn) -> LoopNest:
    """Small layers of every kind: groups, kernels, strides, ragged extents, some longer loops."""
    longest = draw(st.sampled_from([5, 5, 20]))
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, longest))
    high, wide, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    return LoopNest(
        B=draw(st.integers(1, 2)),
        G=draw(st.integers(1, 2)),
        K=draw(st.integers(1, longest)),
        C=draw(st.integers(1, longest)),
        OY=rows,
        OX=columns,
        FY=high,
        FX=wide,
        stride=(1, stride, stride),
        input_extent=(1, (rows - 1) * stride + high, (columns - 1) * stride + wide),
    )


def fastest(machine: str, capacity: int, nest: LoopNest) -> Cost:
    """The layer by itself, mapped for latency; an example that does not fit is not one."""
    memory, changes = MACHINES[machine]
    document = find_spec(machine)
    for path, value in {**changes, f"memories.{memory}.capacity": f"{capacity} B"}.items():
        document = document.override(path, value, f"--set {path}={value}")
    spec = document.validate(ArraySpec)
    fmt = spec.array.formats["int8"]
    plan = PrecisionPlan(LayerPrecision(fmt.weight_format, fmt.activation_format))
    network = network_of(nest)
    try:
        mapping = map_network(spec, network, plan, Objective.LATENCY)
    except MappingError:
        reject()
    return cost_network(spec, network, plan, mapping)


def hold(machine: str, nest: LoopNest, share: float, growth: float) -> None:
    everything = nest.input_elements + nest.weight_elements + nest.output_elements
    small = max(16, int(share * everything))
    lesser = fastest(machine, small, nest)
    larger = fastest(machine, int(small * growth) + 1, nest)
    assert lesser.search is not None
    assert larger.search is not None
    assume(lesser.search.proven == 1)
    assume(larger.search.proven == 1)
    assert larger.cycles <= lesser.cycles


# From a buffer that holds little of a layer to one that holds it twice over.
SHARES, GROWTHS = st.floats(0.05, 1.2), st.floats(1.0, 3.0)
QUIET = list(HealthCheck)


@pytest.mark.parametrize("machine", MACHINES)
@settings(max_examples=5, deadline=None, suppress_health_check=QUIET, derandomize=True)
@given(nest=layers(), share=SHARES, growth=GROWTHS)
def test_a_smaller_memory_makes_no_layer_faster(
    machine: str, nest: LoopNest, share: float, growth: float
) -> None:
    hold(machine, nest, share, growth)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
@settings(max_examples=80, deadline=None, suppress_health_check=QUIET, derandomize=True)
@given(nest=layers(), share=SHARES, growth=GROWTHS)
def test_a_smaller_memory_makes_none_of_many_layers_faster(
    machine: str, nest: LoopNest, share: float, growth: float
) -> None:
    hold(machine, nest, share, growth)
