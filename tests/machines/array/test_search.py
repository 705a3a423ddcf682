"""The search against brute force over its whole space, counted by the reporting side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from itertools import combinations as combinations_of
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from npubench.ir import LayerPrecision, LoopNest, Network, PrecisionPlan, Role, Tensor, parse_format
from npubench.ir.layer import MacLayer
from npubench.machines.array.core import Core
from npubench.machines.array.cost import cost_network
from npubench.machines.array.extents import Extents, Shape
from npubench.machines.array.flows import Resources, cycles_per_bit, whole
from npubench.machines.array.goals import BestGoal, staircase
from npubench.machines.array.mapping import MappedLayer, map_fronts, map_network
from npubench.machines.array.nests import (
    DoesNotFitError,
    Level,
    Nest,
    SearchCounts,
    combinations,
    nondominated,
)
from npubench.machines.array.registers import register_use
from npubench.machines.array.search import LayerSearch
from npubench.machines.array.space import ArrayCost, build_cores, build_levels, feeding_flow
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.tiles import (
    ORDERS,
    USES,
    LayerTiles,
    OperandBits,
    Words,
    loops_inside,
    one,
    stretched,
)
from npubench.machines.array.traffic import mac_traffic
from npubench.machines.array.work import measure
from npubench.machines.protocol import Objective
from npubench.specs.catalog import find_spec

BITS = OperandBits(input=8, weight=8, output=8, partial=32)


def tiny_spec(buffer_bytes: int, sums: int, count: int = 1, *, uneven: bool = False) -> ArraySpec:
    """A 2 x 2 weight-stationary array with small memories."""
    document = find_spec("edge8")
    for path, value in {
        "memories.buffer.uneven": str(uneven).lower(),
        "array.rows": "2",
        "array.cols": "2",
        "array.count": str(count),
        "memories.accumulators.capacity": f"{4 * sums} B",
        "memories.accumulators.port_width": "64 bit/cycle",
        "memories.buffer.capacity": f"{buffer_bytes} B",
        "memories.buffer.port_width": "24 bit/cycle",
        "memories.lpddr4.bandwidth": "1 GB/s",
    }.items():
        document = document.override(path, value, f"--set {path}={value}")
    return document.validate(ArraySpec)


def three_memories(outer: int, inner: int, sums: int, *, uneven: bool = False) -> ArraySpec:
    """A 2 x 2 weight-stationary array with sums in a memory inside a memory inside a memory."""
    document = find_spec("tpuv4i")
    for path, value in {
        "memories.vmem.uneven": str(uneven).lower(),
        "memories.cmem.uneven": str(uneven).lower(),
        "array.rows": "2",
        "array.cols": "2",
        "array.count": "1",
        "array.default_format": "int8",
        "static_power": "1 mW",
        "memories.accumulators.capacity": f"{4 * sums} B",
        "memories.accumulators.port_width": "64 bit/cycle",
        "memories.vmem.capacity": f"{inner} B",
        "memories.vmem.port_width": "24 bit/cycle",
        "memories.cmem.capacity": f"{outer} B",
        "memories.cmem.port_width": "10 bit/cycle",
        "memories.hbm.bandwidth": "1 GB/s",
    }.items():
        document = document.override(path, value, f"--set {path}={value}")
    return document.validate(ArraySpec)


def network_of(nest: LoopNest) -> Network:
    fp32 = parse_format("fp32")
    tensors = {
        "x": Tensor("x", (nest.input_elements,), fp32, Role.INPUT),
        "w": Tensor("w", (nest.weight_elements,), fp32, Role.WEIGHT),
        "y": Tensor("y", (nest.output_elements,), fp32),
    }
    layer = MacLayer(
        name="mac", op="Conv", inputs=("x", "w"), outputs=("y",), nest=nest, data="x", weight="w"
    )
    return Network("one", tensors, (layer,), ("x",), ("y",)).verify()


def every_nest(
    tiles: LayerTiles, cores: tuple[Core, ...], levels: tuple[Level, ...], whole: Extents
) -> Iterator[Nest]:
    """All nests of the stated space, one by one and without any bound."""
    if not levels:
        for variant in range(len(cores)):
            yield Nest(whole, whole, variant=variant)
        return
    level = levels[0]
    groups = cores[0].groups_at_once
    whole_bits = int(tiles.footprint(one(whole), level.operands, level.bits, groups)[0])
    # Sums that the next memory keeps come here finished.
    inside_keeps = len(levels) > 1 and "output" in levels[1].operands

    def fits(tile: Extents, *, finished: bool) -> bool:
        bits = tiles.footprint(
            one(tile), level.operands, level.bits, groups, finished=finished and inside_keeps
        )
        room = level.room_bits // 2 if level.double_buffered else level.room_bits
        return int(bits[0]) <= room or (tile == whole and int(bits[0]) <= level.room_bits)

    if whole_bits <= level.room_bits and not level.streams:
        candidates = [whole]
    else:
        table = tiles.candidates(whole, level.operands, cores[0].steps)
        every = (Extents(*(int(n) for n in row)) for row in zip(*table, strict=True))
        candidates = [tile for tile in every if fits(tile, finished=True)]
    for tile in candidates:
        parts = list(combinations(whole, tile))
        inner = [list(every_nest(tiles, cores, levels[1:], piece)) for piece, _ in parts]
        # Orders that move the same words are one; the array may keep weights from tile to tile.
        stays = cores[0].stays(*one(tile)[3:]) is not None
        moved = level.operands | {"weight"} if stays else level.operands
        orders = {
            (
                tiles.crossing(whole, tile, order, moved),
                last_loop(whole, tile, order),
                order if level.uneven else "",
            ): order
            for order in ORDERS
        }
        for order, chosen in product(orders.values(), product(*inner)):
            inside = tuple((count, nest) for (_, count), nest in zip(parts, chosen, strict=True))
            keeps = [""]
            if len(levels) > 1:
                keeps += [
                    operand
                    for operand in levels[1].operands
                    if not set(last_loop(whole, tile, order)) & set(USES[operand])
                    and all(holds_whole(part, operand) for part in chosen)
                ]
            for retained in keeps:
                finished = retained == "output"
                if not fits(tile, finished=finished):
                    continue
                for held in holdings(tiles, level, groups, whole, tile, order, finished=finished):
                    yield Nest(whole, tile, order, retained, inside=inside, held=held)


def holdings(
    tiles: LayerTiles,
    level: Level,
    groups: int,
    whole: Extents,
    tile: Extents,
    order: str,
    *,
    finished: bool,
) -> Iterator[tuple[str, ...]]:
    """Every set of operands that an uneven memory can hold over loops, nothing among them."""
    yield ()
    names = sorted(level.operands) if level.uneven else []
    for count in range(1, len(names) + 1):
        for held in combinations_of(names, count):
            sizes = {name: loops_inside(order, name) if name in held else "" for name in names}
            rooms = (
                tiles.room(
                    name, stretched(one(tile), whole, loops), level.bits, groups, finished=finished
                )
                for name, loops in sizes.items()
            )
            if all(sizes[name] for name in held) and int(sum(rooms)[0]) <= level.tile_bits:
                yield held


def last_loop(whole: Extents, tile: Extents, order: str) -> str:
    """The innermost loop over more than one tile; all of them where there is none."""
    cut = {
        "M": whole[:3] != tile[:3],
        "K": whole.k != tile.k,
        "C": whole.c != tile.c,
    }
    return next((loop for loop in reversed(order) if cut[loop]), "MKC")


def holds_whole(nest: Nest, operand: str) -> bool:
    """Whether a memory's only tile of an operand is all of it."""
    dims = {"M": (0, 1, 2), "K": (3,), "C": (4,)}
    at = [i for kind in USES[operand] for i in dims[kind]]
    return all(nest.tile[i] == nest.extents[i] for i in at)


def price(
    spec: ArraySpec,
    cores: tuple[Core, ...],
    levels: tuple[Level, ...],
    tiles: LayerTiles,
    nest: Nest,
    bits: OperandBits = BITS,
) -> tuple[float, float]:
    """(cycles, joules) of a nest by the way results are reported, not by the search's columns."""
    work = measure(tiles, cores, levels, nest)
    core = cores[work.variant]
    row = np.empty(0)  # the search's columns are not asked
    mapped = MappedLayer(core, work, (0, 0), bits, "int8", frozenset(), 0, SearchCounts(), row)
    ports = mac_traffic(spec, mapped, 1, 0)
    clock = np.array([spec.clock.value])
    needed = [
        float(whole(ports.busy_bits(memory) * cycles_per_bit(memory, clock))[0])
        for memory in spec.memories
    ]
    busy = int(max(work.array_cycles, *needed))
    load, drain = core.once(*one(work.last))
    cycles = busy + int(load[0]) + int(drain[0])
    fmt = spec.array.formats["int8"]
    macs = tiles.shape.nest.macs
    joules = macs * fmt.mac_energy.value + cycles / spec.clock.value * spec.static_power.value
    for memory in spec.memories:
        read, written = ports.bits(memory.name)
        joules += read * memory.read_energy.value + written * memory.write_energy.value
    for _, quantity, moved in register_use(spec, fmt, bits, core, macs, work.held_writes):
        joules += moved * quantity.value
    return cycles, joules


def space_of(
    spec: ArraySpec, nest: LoopNest, bits: OperandBits = BITS
) -> tuple[LayerTiles, tuple[Core, ...], tuple[Level, ...]]:
    resources, shape, fmt = Resources(spec), Shape(nest), spec.array.formats["int8"]
    flow = feeding_flow(spec, resources, bits)
    cost = ArrayCost(spec, fmt, bits, resources, flow, frozenset())
    levels = build_levels(
        spec,
        resources,
        bits,
        home=None,
        resident=frozenset(),
        reserved_bits=0,
        weights_room=None,
        weights_bits={},
    )
    return LayerTiles(shape), build_cores(spec, fmt, shape, cost), levels


SMALL = st.builds(
    LoopNest, B=st.integers(1, 3), K=st.integers(1, 4), C=st.integers(1, 4), FX=st.just(1)
)


BRUTE = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
WHOLE = given(
    nest=SMALL,
    room=st.integers(8, 40),
    sums=st.sampled_from([2, 4, 64]),
    uneven=st.booleans(),
)


@pytest.mark.parametrize("objective", list(Objective))
@settings(BRUTE, max_examples=15)
@WHOLE
def test_brute_force_over_the_whole_space_finds_nothing_better(
    objective: Objective, nest: LoopNest, room: int, sums: int, *, uneven: bool
) -> None:
    check_whole_space(objective, nest, room, sums, uneven=uneven)


@pytest.mark.slow
@pytest.mark.parametrize("objective", list(Objective))
@settings(BRUTE, max_examples=40)
@WHOLE
def test_brute_force_over_the_whole_space_at_length(
    objective: Objective, nest: LoopNest, room: int, sums: int, *, uneven: bool
) -> None:
    check_whole_space(objective, nest, room, sums, uneven=uneven)


def check_whole_space(
    objective: Objective, nest: LoopNest, room: int, sums: int, *, uneven: bool
) -> None:
    """Compare the machine's answer with every nest."""
    spec = tiny_spec(room, sums, 1, uneven=uneven)
    tiles, cores, levels = space_of(spec, nest)
    network = network_of(nest)
    plan = PrecisionPlan(machine_precision(spec))
    everything = [
        price(spec, cores, levels, tiles, candidate)
        for candidate in every_nest(tiles, cores, levels, tiles.shape.extents)
    ]
    mapped = map_network(spec, network, plan, objective).layers["mac"]
    assert mapped.counts.proven
    found = reported(spec, network, plan, objective)
    compare_with(everything, found, objective)


def compare_with(
    everything: list[tuple[float, float]], found: tuple[float, float], objective: Objective
) -> None:
    """The nest found is the best of all: neither worse, nor better than is possible."""
    best = {
        Objective.LATENCY: min(cycles for cycles, _ in everything),
        Objective.ENERGY: min(joules for _, joules in everything),
        Objective.EDP: min(cycles * joules for cycles, joules in everything),
    }[objective]
    got = {
        Objective.LATENCY: found[0],
        Objective.ENERGY: found[1],
        Objective.EDP: found[0] * found[1],
    }[objective]
    assert got <= best * (1 + 1e-9)
    assert got >= best * (1 - 1e-9)


@pytest.mark.parametrize("counting", ["npubench", "zigzag"])
def test_an_operand_that_stays_while_others_change(counting: str) -> None:
    """All inputs fit beside the weights of some channels: they come once, for less energy."""
    nest = LoopNest(
        K=256, C=128, OY=7, OX=7, FY=3, FX=3, pad_begin=(0, 1, 1), input_extent=(1, 7, 7)
    )
    document = find_spec("ws32x32_int8").override("counting", counting, "--set")
    document = document.override("memories.buffer.capacity", "20 KiB", "--set")
    joules = {}
    for uneven in ("true", "false"):
        spec = document.override("memories.buffer.uneven", uneven, "--set").validate(ArraySpec)
        plan = PrecisionPlan(machine_precision(spec))
        mapped = map_network(spec, network_of(nest), plan, Objective.ENERGY).layers["mac"]
        joules[uneven] = reported(spec, network_of(nest), plan, Objective.ENERGY)[1]
        assert mapped.work.tiles[0].held == (("input",) if uneven == "true" else ())
        if uneven == "true":
            assert mapped.work.boundaries["buffer"] == Words(128 * 49, 256 * 128 * 9, 256 * 49)
    assert joules["true"] < joules["false"]


def count_nests(
    tiles: LayerTiles, cores: tuple[Core, ...], levels: tuple[Level, ...], whole: Extents
) -> int:
    """How many nests `every_nest` goes through at most."""
    if not levels:
        return len(cores)
    level = levels[0]
    groups = cores[0].groups_at_once
    room = level.room_bits // 2 if level.double_buffered else level.room_bits
    if int(tiles.footprint(one(whole), level.operands, level.bits, groups)[0]) <= level.room_bits:
        return count_nests(tiles, cores, levels[1:], whole)
    table = tiles.candidates(whole, level.operands, cores[0].steps)
    fits = tiles.footprint(table, level.operands, level.bits, groups) <= room
    total = 0
    for row in np.stack(table, axis=1)[fits].tolist():
        inner = [
            count_nests(tiles, cores, levels[1:], piece)
            for piece, _ in combinations(whole, Extents(*row))
        ]
        total += len(ORDERS) * math.prod(inner)
    return total


@pytest.mark.parametrize("objective", list(Objective))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
@given(
    nest=st.builds(LoopNest, B=st.integers(1, 3), K=st.integers(1, 3), C=st.integers(1, 3)),
    outer=st.integers(8, 30),
    inner=st.integers(8, 24),
    sums=st.sampled_from([2, 4]),
    uneven=st.booleans(),
)
def test_brute_force_with_three_memories_finds_nothing_better(
    objective: Objective, nest: LoopNest, outer: int, inner: int, sums: int, *, uneven: bool
) -> None:
    spec = three_memories(outer, inner, sums, uneven=uneven)
    check_three_memories(spec, objective, nest, most=400)


@pytest.mark.slow
@pytest.mark.parametrize("objective", list(Objective))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    nest=st.builds(LoopNest, B=st.integers(1, 4), K=st.integers(1, 4), C=st.integers(1, 4)),
    outer=st.integers(8, 40),
    inner=st.integers(8, 30),
    sums=st.sampled_from([2, 4, 6]),
    uneven=st.booleans(),
)
def test_brute_force_with_three_memories_at_length(
    objective: Objective, nest: LoopNest, outer: int, inner: int, sums: int, *, uneven: bool
) -> None:
    spec = three_memories(outer, inner, sums, uneven=uneven)
    check_three_memories(spec, objective, nest, most=3000)


def check_three_memories(
    spec: ArraySpec, objective: Objective, nest: LoopNest, *, most: int
) -> None:
    """Compare the machine's answer with every nest, where there are few enough to go through."""
    tiles, cores, levels = space_of(spec, nest)
    assert len(levels) == 3
    assume(1 < count_nests(tiles, cores, levels, tiles.shape.extents) <= 6 * most)
    everything = [
        price(spec, cores, levels, tiles, candidate)
        for candidate in itertools.islice(
            every_nest(tiles, cores, levels, tiles.shape.extents), most + 1
        )
    ]
    assume(len(everything) <= most)
    network, plan = network_of(nest), PrecisionPlan(machine_precision(spec))
    mapped = map_network(spec, network, plan, objective).layers["mac"]
    assert mapped.counts.proven
    compare_with(everything, reported(spec, network, plan, objective), objective)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
@given(nest=SMALL, room=st.integers(8, 40), sums=st.sampled_from([2, 4, 64]))
def test_the_front_of_latency_and_energy_is_that_of_every_nest(
    nest: LoopNest, room: int, sums: int
) -> None:
    spec = tiny_spec(room, sums)
    tiles, cores, levels = space_of(spec, nest)
    everything = [
        price(spec, cores, levels, tiles, candidate)
        for candidate in every_nest(tiles, cores, levels, tiles.shape.extents)
    ]
    cycles = np.array([float(c) for c, _ in everything])
    joules = np.array([j for _, j in everything])
    keep = staircase(cycles, joules)
    network, plan = network_of(nest), PrecisionPlan(machine_precision(spec))
    found = []
    for mapping in map_fronts(spec, network, plan):
        cost = cost_network(spec, network, plan, mapping).layers[0]
        first = cost.latency_by_cause.get("first_tile", 0)
        static = spec.static_power.value * first / spec.clock.value
        found.append((cost.cycles - first, cost.energy_j - static))
    wanted = list(zip(cycles[keep].tolist(), joules[keep].tolist(), strict=True))
    assert found[0] == pytest.approx(wanted[0], rel=1e-9)
    assert found[-1][1] == pytest.approx(wanted[-1][1], rel=1e-9)
    for c, j in wanted:
        assert any(a <= c and b <= j * (1 + 1e-9) for a, b in found)


def machine_precision(spec: ArraySpec) -> LayerPrecision:
    fmt = spec.array.formats["int8"]
    return LayerPrecision(fmt.weight_format, fmt.activation_format)


def reported(
    spec: ArraySpec, network: Network, plan: PrecisionPlan, objective: Objective
) -> tuple[float, float]:
    """(cycles, joules) of the layer in the machine's answer, the wait for its first tile apart."""
    mapping = map_network(spec, network, plan, objective)
    cost = cost_network(spec, network, plan, mapping).layers[0]
    first = cost.latency_by_cause.get("first_tile", 0)
    static = spec.static_power.value * first / spec.clock.value
    return cost.cycles - first, cost.energy_j - static


def test_less_room_is_never_faster_or_cheaper() -> None:
    nest = LoopNest(B=24, K=48, C=40)
    plan = PrecisionPlan(machine_precision(tiny_spec(4096, 64)))
    for index, objective in ((0, Objective.LATENCY), (1, Objective.ENERGY)):
        figures = [
            reported(tiny_spec(room, 64), network_of(nest), plan, objective)[index]
            for room in (65536, 2048, 1024, 512, 256, 128)
        ]
        assert figures == sorted(figures)
        assert figures[0] < figures[-1]


def test_what_does_not_fit_says_where_and_by_how_much() -> None:
    spec = tiny_spec(24, 64)
    nest = LoopNest(FY=9, FX=9, OY=1, input_extent=(1, 9, 9))
    tiles, cores, levels = space_of(spec, nest)
    resources, fmt = Resources(spec), spec.array.formats["int8"]
    flow = feeding_flow(spec, resources, BITS)
    with pytest.raises(DoesNotFitError) as caught:
        LayerSearch(
            tiles,
            cores,
            levels,
            resources,
            ArrayCost(spec, fmt, BITS, resources, flow, frozenset()),
            BestGoal(lambda rows: rows),
            np.zeros(Resources(spec).count),
        ).run(tiles.shape.extents)
    # 81 inputs, 81 weights and one output of 8 bits against half of 24 bytes.
    assert (caught.value.level, caught.value.needed_bits, caught.value.room_bits) == (
        "buffer",
        8 * 163,
        96,
    )


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30))
def test_nondominated_keeps_what_nothing_beats(rows: list[tuple[int, ...]]) -> None:
    kept = nondominated(np.array(rows, dtype=float)).tolist()
    best = {tuple(rows[i]) for i in kept}
    assert len(best) == len(kept)
    for row in rows:
        beaten = any(
            all(a <= b for a, b in zip(other, row, strict=True)) and other != row for other in rows
        )
        assert (row in best) == (not beaten)
    assert not math.isnan(sum(map(sum, best)))
