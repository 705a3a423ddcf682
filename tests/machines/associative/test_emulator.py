"""The packed emulator against a plain interpreter that visits every row and every cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.errors import MappingError
from npubench.machines.associative.emulator import Cam, execute, measured_activity
from npubench.machines.associative.instructions import (
    FULL_ADDER,
    Broadcast,
    CarrySave,
    Instruction,
    Move,
    Pass,
    Rows,
    Word,
)
from npubench.machines.associative.operations.arithmetic import add, multiply
from npubench.machines.associative.operations.select import relu
from npubench.machines.associative.program import Program
from tests.depth import examples

WIDTH, SLOTS, SEGMENTS = 5, 4, 67


def interpret(steps: tuple[Instruction, ...], cells: np.ndarray) -> dict[str, int]:
    """Executes on cells[column, slot, segment] in place, one row after another; counts."""
    seen = dict.fromkeys(
        ("compares", "writes", "compared_cells", "written_cells", "tagged_rows", "flipped_cells"), 0
    )
    active = range(SLOTS)
    for step in steps:
        if isinstance(step, Rows):
            active = range(step.start, step.stop, step.step)
            continue
        seen["compares"] += not (isinstance(step, Pass) and not step.compare)
        seen["writes"] += not (isinstance(step, Pass) and not step.write)
        if isinstance(step, Pass):
            for slot in active:
                for segment in range(SEGMENTS):
                    seen["compared_cells"] += len(step.compare)
                    if any(cells[column, slot, segment] != bit for column, bit in step.compare):
                        continue
                    seen["tagged_rows"] += 1
                    for column, bit in step.write:
                        seen["written_cells"] += 1
                        seen["flipped_cells"] += int(cells[column, slot, segment] != bit)
                        cells[column, slot, segment] = bit
        elif isinstance(step, Move | Broadcast):
            before = cells[step.source].copy()
            for slot in active:
                origin = step.slot if isinstance(step, Broadcast) else slot + step.distance
                for segment in range(SEGMENTS):
                    bit = before[origin, segment] if 0 <= origin < SLOTS else 0
                    seen["compared_cells"] += 1
                    seen["written_cells"] += 1
                    seen["tagged_rows"] += int(bit)
                    seen["flipped_cells"] += int(cells[step.target, slot, segment] != bit)
                    cells[step.target, slot, segment] = bit
        else:
            interpret_carry_save(step, cells, seen)
    return seen


def interpret_carry_save(step: CarrySave, cells: np.ndarray, seen: dict[str, int]) -> None:
    turns = 1 if step.segmented else len(step.groups) * SEGMENTS
    seen["compares"] += 5 * turns - 1
    seen["writes"] += 5 * turns - 1
    for a, b, c in step.groups:
        for segment in range(SEGMENTS):
            for column in range(step.first, step.first + step.bits):
                for row in FULL_ADDER:
                    seen["compared_cells"] += 3
                    key = tuple(cells[column, slot, segment] for slot in (a, b, c))
                    if key == (row.a, row.b, row.c):
                        seen["tagged_rows"] += 1
                        for slot, bit in ((b, row.write_b), (c, row.write_c)):
                            if bit is not None:
                                seen["written_cells"] += 1
                                seen["flipped_cells"] += int(cells[column, slot, segment] != bit)
                                cells[column, slot, segment] = bit
            carries = [0, *cells[step.first : step.first + step.bits - 1, c, segment]]
            for place, bit in enumerate(carries):
                seen["compared_cells"] += 1
                seen["written_cells"] += 1
                seen["tagged_rows"] += int(bit)
                seen["flipped_cells"] += int(cells[step.first + place, c, segment] != bit)
                cells[step.first + place, c, segment] = bit


column = st.integers(0, WIDTH - 1)
bits = st.dictionaries(column, st.integers(0, 1), max_size=3).map(lambda d: tuple(d.items()))
steps = st.one_of(
    st.builds(Pass, bits, bits.filter(bool)),
    st.builds(Move, column, column, st.integers(-SLOTS, SLOTS)),
    st.builds(Broadcast, column, column, st.integers(0, SLOTS - 1)),
    st.builds(Rows, st.integers(0, 1), st.integers(2, SLOTS), st.integers(1, 3)),
    st.builds(
        CarrySave, st.integers(0, 2), st.integers(1, 3), st.just(((2, 0, 3),)), st.booleans()
    ),
)


@given(program=st.lists(steps, min_size=1, max_size=8).map(tuple), seed=st.integers(0, 9))
@settings(max_examples=examples(40), deadline=None)
def test_random_programs_leave_the_cells_and_counts_of_the_plain_interpreter(
    program: tuple[Instruction, ...], seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 1 << WIDTH, size=(SLOTS, SEGMENTS))
    everything = Word("x", tuple(range(WIDTH)))
    cells = np.array([values >> place & 1 for place in range(WIDTH)])
    seen = interpret(program, cells)

    made = Program("random", WIDTH, SLOTS, (everything,), (everything,), program)
    results, events = execute(made, {"x": values})
    expected = sum(cells[place].astype(np.int64) << place for place in range(WIDTH))
    np.testing.assert_array_equal(results["x"], expected)
    assert {name: getattr(events, name) for name in seen} == seen
    assert made.counts.cycles_for(SEGMENTS) == events.cycles
    assert made.counts.compared_cells * SEGMENTS == events.compared_cells


def test_loading_and_reading_take_a_cycle_per_bit_column() -> None:
    _, events = execute(relu(8), {"a": np.arange(-5, 5)})
    assert (events.populates, events.reads, events.loaded_cells) == (8, 8, 80)
    assert events.total_cycles == 2 + 16


def test_uniform_activity_of_an_adder_is_its_measured_activity() -> None:
    program = add(12, 12)
    assert measured_activity(program).tagged_rows == pytest.approx(
        program.counts.tagged_rows, rel=0.03
    )


def test_activity_is_the_same_every_time() -> None:
    program = multiply(5, 7)
    assert measured_activity(program) == measured_activity(program)
    assert measured_activity(program, seed=1) != measured_activity(program)


def test_cleared_programs_run_twice_on_one_array() -> None:
    program = multiply(4, 4)
    cam = Cam(program.width, 16)
    for factor in (3, 7):
        cam.load(program.input("a"), np.arange(16))
        cam.load(program.input("b"), np.full(16, factor))
        cam.run(program.cleared)
        assert cam.read(program.output("p")).tolist() == [[factor * n for n in range(16)]]
    assert program.cleared.counts.cycles == program.counts.cycles + 1


def test_a_value_too_large_for_its_word_is_refused() -> None:
    with pytest.raises(MappingError) as caught:
        execute(relu(4), {"a": np.array([8])})
    assert str(caught.value) == "associative processor: word 'a' holds -8 to 7, got 8 to 8"


def test_a_program_wider_than_the_array_is_refused() -> None:
    with pytest.raises(MappingError) as caught:
        Cam(16, 10).run(multiply(8, 8))
    assert str(caught.value) == (
        "associative processor: multiply u8 u8 needs 32 columns and 1 slots, the array has 16 and 1"
    )
