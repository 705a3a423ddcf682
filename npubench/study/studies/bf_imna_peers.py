"""BF-IMNA's peak beside published accelerators, and laws of width and supply beside silicon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from npubench.errors import OptionError
from npubench.machines.associative.machine import AssociativeMachine
from npubench.machines.associative.mapping import step_cycles
from npubench.machines.associative.operations.arithmetic import add, multiply
from npubench.study.studies.bf_imna import HARDWARE, PAPER
from npubench.study.studies.record import Cell, Claim, StudyColumn, StudyContext, StudySection
from npubench.study.studies.tables import Row, read_table

__all__ = ["Peak", "peak_at", "run"]

_PAPER_NAME = "BF-IMNA"
_COLUMNS = (
    StudyColumn("design", "Design"),
    StudyColumn("node_nm", "Node", "number", "nm"),
    StudyColumn("bits", "Width", "number", "bit"),
    StudyColumn("ops_per_s", "Rate", "quantity", "OPS"),
    StudyColumn("ops_per_j", "Efficiency", "quantity", "OPS/W"),
    StudyColumn("ops_per_s_mm2", "Density", "quantity", "OPS/mm2"),
    StudyColumn("confidence", "Confidence"),
)
_SOURCES = (
    StudyColumn("design", "Design"),
    StudyColumn("technology", "Technology"),
    StudyColumn("bits", "Width", "number", "bit"),
    StudyColumn("source", "Source"),
)
_OURS = {
    ("paper", "per_pass"): "bf_imna: every row, pass energy",
    ("paper", "per_event"): "bf_imna: every row, cell energy",
    ("gang", "per_event"): "bf_imna: ganged, cell energy",
}
_ISAAC, _PIPELAYER = "ISAAC-CE", "PipeLayer"


@dataclass(frozen=True, slots=True)
class Peak:
    """What one multiply-accumulate in every row gives: operations a second, a joule, a mm2."""

    ops_per_s: float
    ops_per_j: float
    ops_per_s_mm2: float


def peak_at(context: StudyContext, bits: int, word: str, energy: str) -> Peak:
    """BF-IMNA's peak with every row at work: load, multiply, read; energy of the M-bit sum too.

    Args:
        context: gives the machine.
        bits: of both operands, unsigned.
        word: ``paper`` or ``gang``, whether a row counts whatever its width.
        energy: ``per_pass`` or ``per_event``.
    """
    machine = context.session.machine(HARDWARE, {"columns": word, "energy": energy}, {})
    assert isinstance(machine, AssociativeMachine)
    spec = machine.spec
    program, sum_ = multiply(bits, bits), add(bits, bits)
    gang = 1 if word == "paper" else -(-program.width // spec.organisation.columns.integer)
    rows = spec.organisation.caps // gang * spec.organisation.rows.integer
    cycles = step_cycles(spec, program.counts) + program.populate_cycles + program.read_cycles
    counts = program.counts + sum_.counts
    if energy == "per_pass":
        assert spec.cell.pass_energy is not None
        joules = counts.row_passes * spec.cell.pass_energy.value
    else:
        joules = counts.compared_cells * spec.cell.compare_energy.value
        joules += counts.flipped_cells * spec.cell.write.energy.value
    rate = 2 * rows * spec.clock.value / cycles
    area = machine.info.area_mm2
    assert area is not None
    return Peak(rate, 2 / joules, rate / area)


def run(context: StudyContext) -> Iterator[StudySection]:
    """The peers, then Colonnade."""
    try:
        widths = [int(text) for text in context.listed("bits")]
    except ValueError:
        widths = []
    if not widths or min(widths) < 1 or max(widths) > 16:
        raise OptionError("--set bits: expected whole numbers from 1 to 16")
    published = read_table("workloads", "published/in_memory_peers.csv")
    yield _peers(context, widths, published)
    yield StudySection(
        "sources",
        "sources of published rows",
        _SOURCES,
        tuple(
            (
                *(row.text("design"), row.text("technology")),
                *(int(row.number("precision_bits")), row.text("source")),
            )
            for row in published
        ),
        published_rows=frozenset(range(len(published))),
    )
    context.on_step(1, 2)
    yield _colonnade(context)
    context.on_step(2, 2)


def _peers(context: StudyContext, widths: list[int], published: tuple[Row, ...]) -> StudySection:
    rows: list[tuple[Cell, ...]] = []
    for (word, energy), name in _OURS.items():
        for bits in widths:
            peak = peak_at(context, bits, word, energy)
            rows.append((name, 16, bits, peak.ops_per_s, peak.ops_per_j, peak.ops_per_s_mm2, None))
    first = len(rows)
    rows += [_published(row) for row in published]
    return StudySection(
        "peers",
        "peak figures, two operations a multiply-accumulate",
        _COLUMNS,
        tuple(rows),
        claims=tuple(_claims(context, published)),
        notes=(
            "Ours: one multiplication in every row, 8 M^2 + 4 M cycles with loading and reading, "
            "no sum over rows, no mesh; energy of the multiplication and an M-bit addition. Every "
            "row: whatever its width; ganged: a word wider than an array takes several. Pass "
            "energy is calibrated to the paper's efficiencies, cell energy is not.",
        ),
        published_rows=frozenset(range(first, len(rows))),
    )


def _published(row: Row) -> tuple[Cell, ...]:
    rate, efficiency, density = (
        None if value is None else value * 1e9
        for value in map(row.optional, ("gops", "gops_per_w", "gops_per_mm2"))
    )
    return (
        row.text("design"),
        row.optional("node_nm"),
        int(row.number("precision_bits")),
        rate,
        efficiency,
        density,
        row.text("confidence"),
    )


def _claims(context: StudyContext, published: tuple[Row, ...]) -> Iterator[Claim]:
    """The paper's peak figures and its two ratios, beside ours."""
    peaks: dict[int, Peak] = {}
    for row in published:
        if row.text("design") != _PAPER_NAME:
            continue
        bits = int(row.number("precision_bits"))
        peaks[bits] = peak_at(context, bits, "paper", "per_pass")
        yield Claim(
            f"peak at {bits} bit",
            row.number("gops"),
            peaks[bits].ops_per_s / 1e9,
            "GOPS",
            PAPER,
            "recalled",
            "the paper's values follow 1.5 M^2 + 5.5 M cycles, which no program of ours takes"
            if bits == 1
            else "",
        )
        yield Claim(
            f"efficiency at {bits} bit",
            row.number("gops_per_w"),
            peaks[bits].ops_per_j / 1e9,
            "GOPS/W",
            PAPER,
            "recalled",
            "the energy of a pass is calibrated at 8 bit, so that 1 and 16 bit are predictions"
            if bits == 1
            else "",
        )
    by_name = {row.text("design"): row for row in published}
    if 16 in peaks:
        yield Claim(
            "16-bit throughput over ISAAC",
            1.02,
            peaks[16].ops_per_s / 1e9 / by_name[_ISAAC].number("gops"),
            "",
            f"{PAPER}, abstract (2 % higher); which peer is derived",
            "derived",
            "our programs take 8 M^2 + 4 M cycles where the paper's peak implies fewer, and it "
            "counts rows wider than an array once",
        )
        yield Claim(
            "16-bit efficiency over PipeLayer",
            1.19,
            peaks[16].ops_per_j / 1e9 / by_name[_PIPELAYER].number("gops_per_w"),
            "",
            f"{PAPER}, abstract (20 % higher); which peer is derived",
            "derived",
            "two comparators: over ISAAC the efficiency, over PipeLayer the throughput is lower",
        )


def _colonnade(context: StudyContext) -> StudySection:
    """Laws of width and supply predict ratios of a bit-serial macro that none was fitted to."""
    table = read_table("workloads", "published/colonnade_jssc_2021.csv")
    measured = {
        (int(row.number("bits")), row.number("voltage_v")): row.number("fj_per_mac")
        for row in table
    }
    rates = {int(row.number("bits")): row.number("gops_one_register") for row in table}
    energies = {
        volts: _compare_energy(context, volts) for volts in sorted({v for _, v in measured})
    }
    reference = (8, 0.8)
    source = "Colonnade, JSSC 2021, 65 nm (digitised, secondary)"
    rows: list[tuple[Cell, ...]] = []
    for (bits, volts), value in measured.items():
        ratio = value / measured[reference]
        width = multiply(bits, bits).counts.compared_cells
        predicted = width / multiply(8, 8).counts.compared_cells
        predicted *= energies[volts] / energies[0.8]
        rate = rates[bits] / rates[8]
        ours = multiply(8, 8).counts.cycles / multiply(bits, bits).counts.cycles
        rows.append(
            (bits, volts, ratio, predicted, predicted / ratio - 1, rate, ours, ours / rate - 1)
        )
    source_note = f"{source}; 1 pipeline register, 100 MHz."
    return StudySection(
        "colonnade",
        "bit-serial silicon: energy a MAC and rate over 8 bit at 0.8 V",
        (
            StudyColumn("bits", "Width", "number", "bit"),
            StudyColumn("supply_v", "Supply", "number", "V"),
            StudyColumn("energy_ratio_published", "Energy x", "ratio", published=True),
            StudyColumn("energy_ratio", "Energy x", "ratio"),
            StudyColumn("energy_error", "Differs", "share"),
            StudyColumn("rate_ratio_published", "Rate x", "ratio", published=True),
            StudyColumn("rate_ratio", "Rate x", "ratio"),
            StudyColumn("rate_error", "Differs", "share"),
        ),
        tuple(rows),
        notes=(
            f"Published: {source_note}",
            "Ours: cells compared by an M x M multiplication times the supply law of bf_imna "
            "(16 nm inverter chains); nothing is fitted. Colonnade adds bits in parallel, so that "
            "energy and time rise by less than M^2 above 8 bit; near threshold its energy falls "
            "faster than any V^2 law.",
        ),
    )


def _compare_energy(context: StudyContext, volts: float) -> float:
    machine = context.session.machine(HARDWARE, {"vdd": f"{volts:g} V"}, {})
    assert isinstance(machine, AssociativeMachine)
    return machine.spec.cell.compare_energy.value
