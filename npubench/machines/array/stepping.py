"""The registers of a systolic array, updated once a cycle.

In every cycle a PE takes the operand of its left neighbour's register and the word of the one
above it (at the edges: of the feeders, which delay row r by r cycles and column c by c), works,
and writes its own registers. A word that a PE computes in the bottom row leaves in that cycle.

Stationary operands go down the columns one row a cycle, row R - 1's word first, each with its
destination as a tag: a PE takes the word above it while that has farther to go. Column c starts c
cycles late, so the shifting follows the wave of operands and may overwrite a PE's word in the very
cycle after its last use. Results of the output stationary form leave the same way: when the bottom
PE of a column is done, all results of the column move down one row a cycle.

All words come in two planes along the first axis: the value, and 1 for a real operand. The second
plane runs through the same multiplications and sums as the first and so counts the products that a
sum is made of. If a fold started too early its words would overwrite others, and the product would
be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import IntArray
from npubench.machines.array.systolic import Drain, StationaryLoad

__all__ = ["Fold", "Steps", "step_output_stationary", "step_stationary"]


@dataclass(frozen=True)
class Fold:
    """One filling of an R x C array; T cycles of operands.

    Attributes:
        left: streamed from the left, (2, T, R, a, s): a words along the reduction, s beside them.
        top: held by the PEs, (2, R, C, a, h); output stationary: streamed from above,
            (2, T, C, a, h).
        outputs: places in the flat product, -1 for none: (T, C, s * h) of sums leaving the bottom
            row; output stationary: (R, C, h) of sums held by the PEs.
    """

    left: IntArray
    top: IntArray
    outputs: IntArray


@dataclass(slots=True)
class Steps:
    """Events while stepping; see `npubench.machines.array.emulate.Emulation`."""

    cycles: int = 0
    macs: int = 0
    left_words: int = 0
    top_words: int = 0
    output_words: int = 0
    operand_writes: int = 0
    held_writes: int = 0
    sum_writes: int = 0


class _Wave:
    """Operands streaming from the left, with the fold and step they belong to.

    Attributes:
        words: (2, R, C, a, s), what each PE's register holds after the cycle.
        fold, time: (R, C), the fold of each word, -1 for a bubble, and its step.
    """

    def __init__(self, folds: Sequence[Fold], cols: int) -> None:
        _, _, self.rows, *word = folds[0].left.shape
        self.folds, self.cols = folds, cols
        self.lengths = np.array([fold.left.shape[1] for fold in folds])
        self.words = np.zeros((2, self.rows, cols, *word), dtype=np.int64)
        self.fold = np.full((self.rows, cols), -1)
        self.time = np.zeros((self.rows, cols), dtype=np.int64)
        self.starts: list[int] = []
        self._lane = np.arange(self.rows)

    def entered(self, cycle: int) -> bool:
        """Whether every step of the folds started so far has entered row 0."""
        return not self.starts or cycle >= self._end

    def empty(self, cycle: int) -> bool:
        """Whether no operand is in the array or on its way from a feeder."""
        fed = not self.starts or cycle >= self._end + self.rows - 1
        return fed and bool((self.fold[:, :-1] < 0).all())

    @property
    def _end(self) -> int:
        """The cycle after the latest fold's last step has entered row 0."""
        return self.starts[-1] + int(self.lengths[len(self.starts) - 1])

    def advance(self, cycle: int, steps: Steps) -> None:
        """Move every operand one PE to the right and feed the left edge."""
        for register in (self.fold, self.time):
            register[:, 1:] = register[:, :-1]
        self.words[:, :, 1:] = self.words[:, :, :-1]
        self.fold[:, 0] = -1
        self.words[:, :, 0] = 0
        for index in range(len(self.starts) - 1, -1, -1):
            time = cycle - self.starts[index] - self._lane
            if time[-1] >= self.lengths[index]:
                break  # this fold and all before it have been fed to the last row
            lanes = np.nonzero((time >= 0) & (time < self.lengths[index]))[0]
            words = self.folds[index].left[:, time[lanes], lanes]
            self.words[:, lanes, 0] = words
            self.fold[lanes, 0], self.time[lanes, 0] = index, time[lanes]
            steps.left_words += int(words[1].sum())
        steps.operand_writes += int(self.words[1].sum())


class _Columns:
    """Words on their way into the columns from above: column c is fed c cycles late."""

    def __init__(self, folds: Sequence[Fold], cols: int) -> None:
        self.folds = folds
        self.starts: list[int] = []
        self._lane = np.arange(cols)
        self._word = (folds[0].top.shape[0], cols, *folds[0].top.shape[3:])

    def feed(self, cycle: int, steps: Steps, *, last_first: bool) -> tuple[IntArray, IntArray]:
        """(words, places) entering each column: place n of a fold's ``top``, -1 for a bubble."""
        words = np.zeros(self._word, dtype=np.int64)
        places = np.full(self._lane.size, -1)
        for index in range(len(self.starts) - 1, -1, -1):
            time = cycle - self.starts[index] - self._lane
            length = self.folds[index].top.shape[1]
            if time[-1] >= length:
                break
            lanes = np.nonzero((time >= 0) & (time < length))[0]
            place = length - 1 - time[lanes] if last_first else time[lanes]
            words[:, lanes] = self.folds[index].top[:, place, lanes]
            places[lanes] = place
        steps.top_words += int(words[1].sum())
        return words, places


def _below(edge: IntArray, register: IntArray, axis: int) -> IntArray:
    """What each row sees above it: the edge, then the register of the row above."""
    rows = register.shape[axis]
    above = np.take(register, range(rows - 1), axis=axis)
    return np.concatenate((np.expand_dims(edge, axis), above), axis=axis)


def step_stationary(
    folds: Sequence[Fold], product: IntArray, load: StationaryLoad, drain: Drain
) -> Steps:
    """Step the weight or input stationary form until the array is empty.

    Args:
        folds: equal but for T.
        product: flat; the sums that leave are added to it.
        load: exposed: PEs have one register for the held word; double buffered: two, and swap
            when the first operand of a fold passes.
        drain: per fold: the array empties before the next fold starts (exposed: before it loads).
    """
    steps = Steps()
    _, rows, cols, _, _ = folds[0].top.shape
    wave, columns = _Wave(folds, cols), _Columns(folds, cols)
    chain = np.zeros_like(folds[0].top)
    tags = np.full((rows, cols), -1)
    active = np.zeros_like(chain)
    sums = np.zeros((2, rows, cols, folds[0].outputs.shape[-1]), dtype=np.int64)
    row, column = np.arange(rows)[:, None], np.arange(cols)
    exposed, per_fold = load is StationaryLoad.EXPOSED, drain is Drain.PER_FOLD
    cycle = 0
    while len(wave.starts) < len(folds) or not wave.empty(cycle):
        started, loaded = len(wave.starts), len(columns.starts)
        free = wave.empty(cycle) if per_fold else wave.entered(cycle)
        if loaded > started and tags[0, 0] == 0 and free:
            wave.starts.append(cycle)
        if len(columns.starts) == len(wave.starts) < len(folds) and (
            not exposed or (wave.empty(cycle) if per_fold else wave.entered(cycle))
        ):
            columns.starts.append(cycle)
        wave.advance(cycle, steps)
        if exposed:
            held = chain
        else:
            first = (wave.fold >= 0) & (wave.time == 0)
            held = active = np.where(first[None, :, :, None, None], chain, active)
        above = _below(np.zeros_like(sums[:, 0]), sums, axis=1)
        sums = above + (wave.words * held).sum(axis=3)
        steps.sum_writes += int(np.count_nonzero(sums[1]))
        leaving = np.nonzero(wave.fold[-1] >= 0)[0]
        for c, fold, time in zip(
            leaving, wave.fold[-1, leaving], wave.time[-1, leaving], strict=True
        ):
            _collect(product, folds[fold].outputs[time, column[c]], sums[:, -1, c], steps)
        words, places = columns.feed(cycle, steps, last_first=True)
        tags_above = _below(places, tags, axis=0)
        take = tags_above >= row
        chain = np.where(take[None, :, :, None, None], _below(words, chain, axis=1), chain)
        tags = np.where(take, tags_above, tags)
        steps.held_writes += int(chain[1][take].sum())
        cycle += 1
    steps.cycles = cycle
    return steps


def step_output_stationary(
    folds: Sequence[Fold],
    product: IntArray,
    load: StationaryLoad,
    drain: Drain,
    *,
    count_drain: bool,
) -> Steps:
    """Step the output stationary form until the last result has left.

    Args:
        folds: equal but for T.
        product: flat; results are added to it.
        load: exposed: results shift out through the accumulators themselves; double buffered:
            through registers of their own, behind the next fold.
        drain: per fold: operands leave the array before the next fold's enter.
        count_drain: whether results shift out at all, or are lifted out in no time.
    """
    steps = Steps()
    rows, cols, _ = folds[0].outputs.shape
    wave = _Wave(folds, cols)
    columns = _Columns(folds, cols)
    below = np.zeros((2, rows, cols, *folds[0].top.shape[3:]), dtype=np.int64)
    sums = np.zeros((2, rows, cols, folds[0].outputs.shape[-1]), dtype=np.int64)
    outputs = np.stack([fold.outputs for fold in folds])
    exposed, per_fold = load is StationaryLoad.EXPOSED, drain is Drain.PER_FOLD
    # Results on their way out: exposed, in the accumulators themselves.
    results = sums if exposed else np.zeros_like(sums)
    places = np.full(sums.shape[1:], -1)
    valid, moving = np.zeros((rows, cols), dtype=bool), np.zeros((rows, cols), dtype=bool)
    row, column = np.indices((rows, cols))
    cycle = 0
    while len(wave.starts) < len(folds) or not wave.empty(cycle) or valid.any():
        free = wave.empty(cycle) if per_fold else wave.entered(cycle)
        if exposed:
            free = free and not (valid.any() if per_fold else valid[0, 0])
        elif wave.starts and count_drain:
            free = free and cycle >= wave.starts[-1] + rows
        if free and len(wave.starts) < len(folds):
            wave.starts.append(cycle)
            columns.starts.append(cycle)
        if valid.any():
            _shift_out(product, results, places, valid, moving, steps)
        wave.advance(cycle, steps)
        words, _ = columns.feed(cycle, steps, last_first=False)
        below = _below(words, below, axis=1)
        steps.operand_writes += int(below[1].sum())
        busy = wave.fold >= 0
        sums[:, busy & (wave.time == 0)] = 0
        sums += (wave.words * below).sum(axis=3)
        here = outputs[wave.fold, row, column]
        steps.sum_writes += int(np.count_nonzero(here[busy] >= 0))
        done = busy & (wave.time == wave.lengths[wave.fold] - 1)
        if count_drain:
            results[:, done] = sums[:, done]
            places[done] = here[done]
            valid |= done
            ready = done[-1]
            moving[:, ready] = valid[:, ready]
        else:
            _collect(product, here[done], sums[:, done], steps)
        cycle += 1
    steps.cycles = cycle
    return steps


def _shift_out(
    product: IntArray,
    results: IntArray,
    places: IntArray,
    valid: npt.NDArray[np.bool_],
    moving: npt.NDArray[np.bool_],
    steps: Steps,
) -> None:
    """Move results one row down, in place; those of the bottom row leave."""
    out = moving[-1].copy()
    _collect(product, places[-1, out], results[:, -1, out], steps)
    into = np.zeros_like(moving)
    into[1:] = moving[:-1]
    source = np.nonzero(moving[:-1])
    target = (source[0] + 1, source[1])
    results[:, target[0], target[1]] = results[:, source[0], source[1]]
    places[target] = places[source]
    valid &= ~moving
    valid |= into
    moving[:] = into
    steps.sum_writes += int(np.count_nonzero(places[into] >= 0))


def _collect(product: IntArray, places: IntArray, sums: IntArray, steps: Steps) -> None:
    """Add sums (2, ...) that left to their places in the product, and count them."""
    real = places >= 0
    np.add.at(product, places[real], sums[0][real])
    steps.macs += int(sums[1][real].sum())
    steps.output_words += int(np.count_nonzero(real))
