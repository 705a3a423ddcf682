"""An associative processor's microprograms: three counts beside one another, and results."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from npubench.errors import OptionError
from npubench.machines.associative.emulator import measured_activity
from npubench.machines.associative.operations.arithmetic import (
    add,
    multiply,
    multiply_accumulate,
)
from npubench.machines.associative.proof import OPERATIONS, TABLES, Operation, Proof, prove
from npubench.machines.associative.reduction import literature_gemm, scalar_product
from npubench.study.studies.record import Cell, Claim, StudyColumn, StudyContext, StudySection

__all__ = ["run"]

_SOME = tuple((a, b) for a in (1, 4, 8, 16) for b in (1, 4, 8, 16))
_ALL = tuple(product(range(1, 17), range(1, 17)))
_TABLE_WIDTHS = (2, 4, 6, 8)
_TERMS = (16, 64, 576, 4608)
_SHOWN = 8
_REFERENCE = "derived from the tables of BF-IMNA's line of papers by an independent emulator"

_COLUMNS = (
    StudyColumn("operation", "Operation"),
    StudyColumn("formula", "Closed form"),
    StudyColumn("closed_form", "Formula", "number", "cycles"),
    StudyColumn("program", "Program", "number", "cycles"),
    StudyColumn("emulator", "Emulator", "number", "cycles"),
    StudyColumn("columns", "Row", "number", "bit"),
    StudyColumn("programs", "Tried", "number"),
    StudyColumn("differing", "Differing", "number"),
    StudyColumn("operands", "Operands", "number"),
    StudyColumn("wrong", "Wrong", "number"),
)


def run(context: StudyContext) -> Iterator[StudySection]:
    """Counts and results, tables, events, reductions."""
    pairs = {"some": _SOME, "all": _ALL}.get(context.settings["pairs"])
    if pairs is None:
        raise OptionError("--set pairs: expected 'some' or 'all'")
    try:
        rows = int(context.settings["operands"])
    except ValueError:
        rows = 0
    if not 4 <= rows <= 1 << 20:
        raise OptionError("--set operands: expected a whole number from 4 to 1048576")
    steps = len(OPERATIONS) + len(TABLES) + 2
    cells: list[tuple[Cell, ...]] = []
    for done, operation in enumerate(OPERATIONS, start=1):
        cells.append(_row(operation, pairs, rows, context.seed))
        context.on_step(done, steps)
    yield StudySection(
        "programs",
        f"cycles at {_SHOWN} x {_SHOWN} bits, over {len(pairs)} pairs of widths 1..16",
        _COLUMNS,
        tuple(cells),
        notes=(
            "a, b: widths; n, w: the narrower and the wider; t: accumulator of a + b + 3 bits; "
            "u, s: unsigned, signed. Differing: programs whose three counts are not equal.",
            "Loading and reading add a cycle a bit column each.",
        ),
    )
    pairs = tuple((bits, bits) for bits in _TABLE_WIDTHS)
    yield StudySection(
        "tables",
        f"functions by table, cycles at {_SHOWN} bits, over widths {_TABLE_WIDTHS}",
        _COLUMNS,
        tuple(_row(operation, pairs, rows, context.seed) for operation in TABLES),
        notes=("One pass an entry; entries that are 0 need none.",),
    )
    context.on_step(steps - 1, steps)
    yield _events()
    yield _reductions()
    context.on_step(steps, steps)


def _row(
    operation: Operation, pairs: tuple[tuple[int, int], ...], rows: int, seed: int
) -> tuple[Cell, ...]:
    if operation.unary:
        pairs = tuple((a, b) for a, b in pairs if a == b)
    proofs = {pair: prove(operation, *pair, rows, seed) for pair in pairs}
    shown: Proof = proofs[_SHOWN, _SHOWN]
    counts = [(p.closed_form, p.counted, p.emulated) for p in proofs.values()]
    return (
        operation.name,
        operation.formula,
        shown.closed_form,
        shown.counted,
        shown.emulated,
        shown.columns,
        len(proofs),
        sum(len(set(three)) > 1 for three in counts),
        sum(proof.operands for proof in proofs.values()),
        sum(proof.wrong for proof in proofs.values()),
    )


def _events() -> StudySection:
    rows: list[tuple[Cell, ...]] = []
    claims: list[Claim] = []
    flips = {1: 0.25, 4: 0.28, 8: 0.32, 16: 0.35}
    for bits, published in flips.items():
        program = multiply(bits, bits)
        pairs = bits * bits
        measured = measured_activity(program).flipped_cells / pairs
        rows.append((program.name, program.counts.compared_cells / pairs, measured, "bit pair"))
        what = f"flips per bit pair of a {bits} x {bits} multiplication"
        claims.append(Claim(what, published, measured, "", _REFERENCE, "derived"))
    adder = add(16, 16)
    measured = measured_activity(adder).flipped_cells / 16
    rows.append((adder.name, adder.counts.compared_cells / 16, measured, "bit"))
    claims.append(Claim("flips per added bit", 0.75, measured, "", _REFERENCE, "derived"))
    mac = multiply_accumulate(8, 8, 16)
    cells = float(mac.counts.compared_cells)
    what = "cells compared by an 8-bit MAC into 16 bits"
    claims.append(Claim(what, 896 + 192, cells, "", _REFERENCE, "derived"))
    return StudySection(
        "events",
        "cells compared and flipped in a row, uniform operands",
        (
            StudyColumn("operation", "Operation"),
            StudyColumn("compared_cells", "Compared", "fixed"),
            StudyColumn("flipped_cells", "Flipped", "fixed", decimals=3),
            StudyColumn("per", "Per"),
        ),
        tuple(rows),
        claims=tuple(claims),
    )


def _reductions() -> StudySection:
    rows: list[tuple[Cell, ...]] = []
    for bits, terms in product((4, 8), _TERMS):
        form = literature_gemm(bits, bits, terms)
        saved, tree = (
            scalar_product(terms, bits, bits, tree=tree).total_cycles for tree in (False, True)
        )
        rows.append(
            (f"{bits} x {bits}", terms, form.cycles, saved, saved / form.cycles, tree,
             tree / form.cycles)
        )  # fmt: skip
    return StudySection(
        "reductions",
        "a scalar product of many terms, loading and reading included",
        (
            StudyColumn("operation", "Width"),
            StudyColumn("terms", "Terms", "number"),
            StudyColumn("literature", "Literature", "number", "cycles"),
            StudyColumn("carry_save", "Carry-save", "number", "cycles"),
            StudyColumn("carry_save_ratio", "x", "ratio"),
            StudyColumn("tree", "Tree", "number", "cycles"),
            StudyColumn("tree_ratio", "x", "ratio"),
        ),
        tuple(rows),
        notes=(
            "Literature: 2M + 8M^2 + 8 log2(j) + 2M + log2(j), recalled; not executable, since "
            "8 cycles a level leave every carry in the wrong column. Carry-save and tree are "
            "executed programs, all segments at once; row moves and carry shifts count.",
        ),
    )
