"""The family against closed forms, its own emulator, and the reference's checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from npubench.errors import MappingError, SpecError
from npubench.frontend import load_network
from npubench.ir import Network, PrecisionPlan, VectorLayer, parse_network, parse_precision
from npubench.machines.associative import AssociativeMachine
from npubench.machines.associative.emulator import execute
from npubench.machines.associative.functions import KINDS, steps_of
from npubench.machines.associative.operations.arithmetic import accumulate, multiply
from npubench.machines.associative.reduction import scalar_product
from npubench.machines.common.storage import storage_bits
from npubench.machines.protocol import Cost, Objective, evaluate
from npubench.machines.registry import build_machine
from npubench.specs.catalog import data_folder, find_spec
from npubench.specs.header import apply_knobs


def machine(
    knobs: Mapping[str, str] | None = None, sets: Mapping[str, str] | None = None
) -> AssociativeMachine:
    document = apply_knobs(find_spec("bf_imna"), knobs or {})
    for path, text in (sets or {}).items():
        document = document.override(path, text, f"--set {path}={text}")
    built = build_machine(document)
    assert isinstance(built, AssociativeMachine)
    return built


def cost(built: AssociativeMachine, network: Network, precision: str = "w8a8") -> Cost:
    plan = built.legalise(network, PrecisionPlan(parse_precision(precision))).executed
    return evaluate(built, network, plan)


def product_of(rows: int, channels: int, terms: int) -> Network:
    return parse_network(
        f"network toy\ninput x fp32[{rows},{terms}]\nweight w fp32[{channels},{terms}]\n"
        f"mac a Gemm (x w) -> y fp32[{rows},{channels}] : B{rows} K{channels} C{terms}\noutput y\n"
    )


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    folder = data_folder("workloads")
    names = ("alexnet", "vgg16", "resnet50", "resnet18")
    return {name: load_network(folder / f"{name}.onnx", name=name).network for name in names}


@pytest.mark.parametrize(("name", "folds"), [("alexnet", 40), ("vgg16", 799), ("resnet50", 228)])
@pytest.mark.parametrize("bits", [4, 8])
def test_folds_and_multiplication_are_the_reference_s_when_every_row_counts(
    networks: dict[str, Network], name: str, folds: int, bits: int
) -> None:
    """Its table of estimates: folds of 4096 x 4800 rows, layer by layer, 8 M^2 cycles each."""
    built = machine({"columns": "paper"})
    plan = PrecisionPlan(parse_precision(f"w{bits}a{bits}"))
    mapping = built.map(networks[name], plan)
    assert sum(placed.folds for placed in mapping.layers.values()) == folds
    found = built.cost(networks[name], plan, mapping)
    assert found.latency_by_cause["multiply"] == folds * 8 * bits**2


def test_a_layer_takes_as_long_whatever_its_rows_until_they_run_out() -> None:
    """Constant in i and u while rows suffice, then by ceil(i j u / rows)."""
    sets = {
        "organisation.clusters": "4",
        "organisation.caps_per_cluster": "1",
        "organisation.rows": "64",
    }
    built = machine({"columns": "paper"}, sets)
    cycles = {}
    for products in (1, 2, 4, 8, 16, 17, 32, 33):
        found = cost(built, product_of(products, 1, 16)).layers[0].latency_by_cause
        cycles[products] = found["multiply"] + found["reduction"]
    alone = cycles[1]
    assert {n: c / alone for n, c in cycles.items()} == {n: -(-n * 16 // 256) for n in cycles}
    assert cost(built, product_of(4, 4, 16)).layers[0].latency_by_cause["multiply"] == 512


@pytest.mark.parametrize("knobs", [{}, {"columns": "paper"}, {"resource": "unlimited"}])
def test_cycles_rise_with_either_width(networks: dict[str, Network], knobs: dict[str, str]) -> None:
    built = machine(knobs)
    for pattern in ("w{}a8", "w8a{}", "w{0}a{0}"):
        found = [cost(built, networks["alexnet"], pattern.format(n)) for n in (1, 2, 5, 8, 16)]
        cycles = [one.cycles for one in found]
        assert cycles == sorted(set(cycles))
        joules = [one.energy_j for one in found]
        assert joules == sorted(set(joules))


def test_changing_precision_between_layers_costs_nothing(networks: dict[str, Network]) -> None:
    """Every layer of a mixed plan costs what it costs when all others have its widths."""
    network = product_chain()
    built = machine()
    names = [layer.name for layer in network.mac_layers]
    for first, second in (("w8a8", "w8a8"), ("w8a8", "w2a8"), ("w1a8", "w8a8"), ("w3a8", "w5a8")):
        widths = {name: parse_precision(p) for name, p in zip(names, (first, second), strict=True)}
        mixed = evaluate(built, network, PrecisionPlan(parse_precision("w8a8"), widths))
        alone = [
            next(x for x in cost(built, network, p).layers if x.name == name)
            for name, p in zip(names, (first, second), strict=True)
        ]
        assert mixed.cycles == sum(layer.cycles for layer in alone)
        assert mixed.energy_j == pytest.approx(sum(layer.energy_j for layer in alone), rel=1e-12)
    causes = set(cost(built, networks["resnet18"], "w4a4").latency_by_cause)
    assert causes <= {
        *("multiply", "reduction", "requantize", "partial_sums", "pooling", "activation"),
        *("elementwise", "load", "read", "mesh"),
    }


def product_chain() -> Network:
    return parse_network(
        "network toy\ninput x fp32[1,64]\nweight w fp32[32,64]\nweight v fp32[16,32]\n"
        "mac a Gemm (x w) -> y fp32[1,32] : K32 C64\nmac b Gemm (y v) -> z fp32[1,16] : K16 C32\n"
        "output z\n"
    )


def test_depth_decides_without_limits_and_products_with_them(networks: dict[str, Network]) -> None:
    free, bound = machine({"resource": "unlimited"}), machine()
    resnet, vgg = networks["resnet50"], networks["vgg16"]
    assert cost(free, resnet).latency_s > cost(free, vgg).latency_s
    assert cost(bound, resnet).latency_s < cost(bound, vgg).latency_s


@pytest.mark.parametrize("reduction", ["carry_save", "tree"])
@pytest.mark.parametrize(("weight", "activation"), [(8, 8), (3, 5), (1, 2)])
def test_cycles_and_cells_are_those_that_the_emulator_counts(
    reduction: str, weight: int, activation: int
) -> None:
    built = machine({"reduction": reduction})
    terms, products = 27, 40
    network = product_of(5, 8, terms)
    plan = PrecisionPlan(parse_precision(f"w{weight}a{activation}"))
    placed = built.map(network, plan).layers["a"]
    assert (placed.folds, placed.chunks, placed.segments) == (1, 1, products)
    found = built.cost(network, plan, built.map(network, plan))
    program = scalar_product(terms, activation, weight, b_signed=True, tree=reduction == "tree")
    random = np.random.default_rng(0)
    operands = {
        "a": random.integers(0, 1 << activation, size=(terms, products)),
        "b": random.integers(-(1 << weight - 1), 1 << weight - 1, size=(terms, products)),
    }
    result, events = execute(program, operands)
    np.testing.assert_array_equal(result["sum"][0], (operands["a"] * operands["b"]).sum(axis=0))
    causes = found.layers[0].latency_by_cause
    assert causes["multiply"] + causes["reduction"] == events.cycles
    counts = placed.multiplication.counts
    cells = counts.compared_cells * terms + placed.summing.counts.compared_cells
    assert cells * products == events.compared_cells
    assert placed.summing.width == program.width
    assert events.populates == weight + activation


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("words", [1, 2, 9, 40])
def test_a_product_and_its_sum_are_the_scalar_product(words: int, tree: bool, signed: bool) -> None:
    signs = {"a_signed": signed, "b_signed": True}
    whole = scalar_product(words, 5, 3, tree=tree, **signs)
    summing = scalar_product(words, 5, 3, tree=tree, multiplied=False, **signs)
    one = multiply(5, 3, **signs).counts
    assert summing.width == whole.width
    assert one.cycles + summing.counts.cycles == whole.counts.cycles
    cells = one.compared_cells * words + summing.counts.compared_cells
    assert cells == whole.counts.compared_cells
    passes = one.row_passes * words + summing.counts.row_passes
    assert passes == whole.counts.row_passes


def test_a_sum_longer_than_a_cap_pays_for_its_partial_sums() -> None:
    sets = {"organisation.rows": "100"}
    short, long = (cost(machine({}, sets), product_of(1, 4, n)).layers[0] for n in (100, 101))
    assert "partial_sums" not in short.latency_by_cause
    assert long.latency_by_cause["partial_sums"] > 0
    assert long.energy_by_component["partial_sums"] > 0
    assert long.note == "4 x 2 x 51 rows"


def test_rows_left_empty_are_weighed_against_partial_sums() -> None:
    """A sum of 2500 leaves nearly half of a CAP empty: two chunks fit three times as many."""
    network = product_of(512, 512, 2500)
    built = machine()
    plan = PrecisionPlan(parse_precision("w8a8"))
    placed = built.map(network, plan).layers["a"]
    assert placed.chunks > 1
    by = {o: built.cost(network, plan, built.map(network, plan, o)) for o in Objective}
    assert by[Objective.LATENCY].cycles == min(found.cycles for found in by.values())
    assert by[Objective.ENERGY].energy_j == min(found.energy_j for found in by.values())


def test_forms_of_the_reduction_rank_as_in_the_reference(networks: dict[str, Network]) -> None:
    found = {
        form: cost(machine({"reduction": form}), networks["alexnet"])
        for form in ("literature", "carry_save", "tree")
    }
    reduction = {form: one.latency_by_cause["reduction"] for form, one in found.items()}
    assert reduction["literature"] < reduction["carry_save"] < reduction["tree"]
    assert any("no program executes" in text for text in found["literature"].assumptions)
    assert not any("no program executes" in text for text in found["tree"].assumptions)


def test_loading_beside_the_fold_before_is_never_longer(networks: dict[str, Network]) -> None:
    exposed, pipelined = (
        cost(machine({"loading": how, "tech": "reram"}), networks["vgg16"])
        for how in ("exposed", "pipelined")
    )
    assert pipelined.latency_by_cause["load"] < exposed.latency_by_cause["load"]
    causes = exposed.latency_by_cause
    assert {k: v for k, v in pipelined.latency_by_cause.items() if k != "load"} == {
        k: v for k, v in causes.items() if k != "load"
    }


def test_technologies_and_supply_move_the_way_the_reference_expects(
    networks: dict[str, Network],
) -> None:
    sram, reram, pcm, fefet = (machine({"tech": t}) for t in ("sram", "reram", "pcm", "fefet"))
    figures = {m.spec.cell.technology: cost(m, networks["alexnet"]) for m in (sram, reram, pcm)}
    assert figures["SRAM"].energy_j < figures["ReRAM"].energy_j < figures["PCM"].energy_j
    assert figures["SRAM"].cycles < figures["ReRAM"].cycles < figures["PCM"].cycles
    areas = [m.info.area_mm2 for m in (sram, reram, fefet)]
    assert None not in areas
    assert areas[0] == pytest.approx(137.45, rel=1e-3)
    assert areas[0] > areas[1] > areas[2]
    supplies = [cost(machine({"vdd": v}), networks["alexnet"]) for v in ("0.5", "0.7", "1.0")]
    assert [x.energy_j for x in supplies] == sorted(x.energy_j for x in supplies)
    assert [x.latency_s for x in supplies] == sorted((x.latency_s for x in supplies), reverse=True)
    low = machine({"tech": "reram", "vdd": "0.5"}).spec.cell
    assert low.write.energy.value == reram.spec.cell.write.energy.value
    assert low.compare_energy.value < reram.spec.cell.compare_energy.value


def test_wear_and_the_other_energy_model_are_told(networks: dict[str, Network]) -> None:
    text = " ".join(cost(machine({"tech": "reram"}), networks["alexnet"]).assumptions)
    assert "inferences if wear is spread evenly" in text
    event = cost(machine(), networks["alexnet"])
    other = cost(machine({"energy": "per_pass"}), networks["alexnet"])
    (told,) = (text for text in event.assumptions if "LUT passes gives" in text)
    factor = float(told.rpartition("gives ")[2].split()[0])
    arrays = {"multiply", "reduction", "requantize", "pooling", "activation", "load", "read",
              "partial_sums"}  # fmt: skip
    joules = [
        sum(j for part, j in one.energy_by_component.items() if part in arrays)
        for one in (other, event)
    ]
    assert joules[0] / joules[1] == pytest.approx(factor, abs=0.01)


def test_what_staging_memories_must_hold_is_told() -> None:
    """32 x 1024 weights of 4 bits; 16 x 1024 inputs and 16 x 32 results of 8."""
    network = product_of(16, 32, 1024)
    limited = " ".join(cost(machine(), network, "w4a8").assumptions)
    mib = [bits / 8 / 2**20 for bits in (32 * 1024 * 4, (16 * 1024 + 16 * 32) * 8)]
    assert f"weights ({mib[0]:.3g} MiB) and activations (up to {mib[1]:.3g} MiB" in limited
    assert "all CAPs together hold 37.5 MiB" in limited
    assert "streamed operands are unsigned" in limited
    free = " ".join(cost(machine({"resource": "unlimited"}), network).assumptions)
    assert "lie in staging memories" in free
    assert "all CAPs" not in free


def test_a_multiplication_and_an_addition_take_the_energy_of_their_passes() -> None:
    """4 passes a bit pair: 10.85 fJ each for every row."""
    built = machine({"energy": "per_pass", "columns": "paper"})
    found = cost(built, product_of(3, 5, 7)).layers[0]
    assert found.energy_by_component["multiply"] == pytest.approx(105 * 4 * 64 * 10.85e-15)


def test_partial_sums_that_are_loaded_are_written_under_both_energy_models() -> None:
    """10,000 terms lie in 3 chunks of a CAP's 4,800 rows: two loads of every product's sum."""
    network = product_of(3, 5, 10_000)
    built = machine({"energy": "per_pass"})
    joules = cost(built, network).layers[0].energy_by_component["partial_sums"]
    placed = built.map(network, built.legalise(network, None).executed).layers["a"]
    assert placed.chunks == 3
    cell = built.spec.cell
    assert cell.pass_energy is not None
    program = accumulate(placed.sum_bits, placed.sum_bits, signed=True)
    passes = program.counts.row_passes * 15 * 2 * cell.pass_energy.value
    written = placed.sum_bits * 15 * 2 / 2 * cell.write.energy.value
    assert joules == pytest.approx(passes + written, rel=1e-12)


EVERY_STEP = """
network steps
input x fp32[2,8,6,6]
input v fp32[2,8,6,6]
input s fp32[6,12]
weight g fp32[12]
vector relu Relu activation (x) -> a fp32[2,8,6,6] : alu=576
vector six Clip activation (x) -> b fp32[2,8,6,6] : alu=1152
vector add Add elementwise (a v) -> c fp32[2,8,6,6] : alu=576
vector mul Mul elementwise (c v) -> d fp32[2,8,6,6] : alu=576
vector div Div elementwise (d v) -> e fp32[2,8,6,6] : special=576
vector max MaxPool pool (e) -> f fp32[2,8,3,3] : alu=432 window=4
vector mean AveragePool pool (f) -> h fp32[2,8,1,1] : alu=160 window=9
vector sum ReduceSum reduce (x) -> i fp32[2,8,1,1] : alu=560 window=36
vector soft Softmax softmax (s) -> j fp32[6,12] : alu=288 special=78 window=12
vector norm LayerNormalization normalization (j g) -> k fp32[6,12] : alu=504 special=6 window=12
vector sig Sigmoid activation (k) -> l fp32[6,12] : alu=144 special=72
vector gelu Gelu activation (l) -> m fp32[6,12] : alu=216 special=72
vector tanh Tanh activation (m) -> n fp32[6,12] : special=72
vector leak LeakyRelu activation (n) -> o fp32[6,12] : alu=144
vector bn BatchNormalization normalization (x g) -> p fp32[2,8,6,6] : alu=1152
vector q QuantizeLinear quantize (p) -> r fp32[2,8,6,6] : alu=1728
output h
output i
output o
output r
"""


@pytest.mark.parametrize("bits", [8, 3])
def test_every_program_of_a_vector_layer_is_executed_as_it_is_counted(bits: int) -> None:
    network = parse_network(EVERY_STEP)
    built = machine()
    plan = PrecisionPlan(parse_precision(f"w{bits}a{bits}"))
    widths = storage_bits(network, plan)
    found = {layer.name: layer for layer in evaluate(built, network, plan).layers}
    random = np.random.default_rng(0)
    for layer in network.layers:
        assert isinstance(layer, VectorLayer)
        steps, how = steps_of(built.spec, network, layer, widths)
        assert bool(how) == (layer.name == "leak"), layer.name
        core = loads = reads = 0
        for step in steps:
            operands = {}
            for word in step.program.inputs:
                low = -(1 << (word.bits - 1)) if word.signed else 0
                slots = step.program.slots if word.slots is None else len(word.slots)
                shape = (slots, step.segments)
                operands[word.name] = random.integers(low, low + (1 << word.bits), size=shape)
            _, events = execute(step.program, operands)
            core += events.cycles * step.times
            loads += events.populates
            reads += events.reads
        causes = found[layer.name].latency_by_cause
        assert core == causes[KINDS[layer.kind]], layer.name
        assert (loads, reads) == (causes["load"], causes["read"]), layer.name


@pytest.mark.parametrize(
    "knobs",
    [
        {"energy": "per_pass"},
        {"tech": "reram", "loading": "pipelined", "vdd": "0.6"},
        {"resource": "unlimited", "reduction": "tree"},
        {"columns": "paper", "reduction": "literature"},
    ],
)
def test_energy_rests_on_constants_at_every_setting(
    networks: dict[str, Network], knobs: dict[str, str]
) -> None:
    found = cost(machine(knobs), networks["alexnet"], "w5a3")
    rests = sum(constant.energy_j for constant in found.constants)
    assert rests == pytest.approx(found.energy_j, rel=1e-9)
    for layer in found.layers:
        assert all(cycles > 0 for cycles in layer.latency_by_cause.values())
        assert all(joules > 0 for joules in layer.energy_by_component.values())
        assert layer.utilization is None or 0 < layer.utilization <= 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        machine({"tech": "reram", "energy": "per_pass"})
    assert "energy_model 'per_pass' needs 'cell.pass_energy', which ReRAM does not have" in str(
        caught.value
    )
    with pytest.raises(SpecError, match="expected a square number"):
        machine({}, {"organisation.clusters": "60"})
    wide = product_of(1, 1, 1 << 17)
    plan = PrecisionPlan(parse_precision("w16a16"))
    with pytest.raises(MappingError) as found:
        machine().map(wide, plan)
    assert str(found.value) == (
        "layer 'a': a sum of 131072 products at w16a16 needs 49 bits, an accumulator of 'bf_imna' "
        "has 48"
    )


def test_a_default_peak_is_that_of_ganged_rows() -> None:
    info: Any = machine().info
    assert info.peak_macs_per_s == 4096 // 2 * 4800 * 1e9 / 512
    paper: Any = machine({"columns": "paper"}).info
    assert paper.peak_macs_per_s == 4096 * 4800 * 1e9 / 512
