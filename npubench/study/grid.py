"""Which points a sweep has: axes, combined, zipped, filtered and sampled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.precision.sources import check_precision
from npubench.specs.loader import SpecDocument, find_node
from npubench.specs.tree import MappingNode, Node, SequenceNode, item_name
from npubench.study.axes import HARDWARE_AXES, WORKLOAD_AXIS, Axis
from npubench.study.run import RunRequest, check_objective, check_request
from npubench.study.session import Session, parse_hardware
from npubench.study.where import Where, parse_where

__all__ = ["MOST_POINTS", "Sample", "Shape", "SweepPlan", "parse_sample", "plan_sweep"]

MOST_POINTS = 1_000_000

_DIM = "dim."
_OPTIONS = (WORKLOAD_AXIS, *HARDWARE_AXES, "batch", "precision", "objective")


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of a grid's points instead of all.

    Attributes:
        kind: ``random`` points without repetition, or ``lhs``, a Latin hypercube: every axis is cut
            into ``count`` equal parts, each of which one point lies in; or ``guided``, where an
            optimiser chooses while points run: see `npubench.study.guided`.
        count: points asked for; ``lhs`` may give fewer where values of an axis are.
        seed: of the choice.
    """

    kind: str
    count: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """How axes make points.

    Attributes:
        zipped: groups of axes that advance together instead of each on its own.
        where: conditions between axes, as text.
        sample: which of the points that are left; None for all.
    """

    zipped: tuple[tuple[str, ...], ...] = ()
    where: tuple[str, ...] = ()
    sample: Sample | None = None


@dataclass(frozen=True)
class SweepPlan:
    """A grid whose axes have been checked.

    Attributes:
        request: what every point has in common.
        axes: the directions of the grid; the last varies fastest.
        knobs: by hardware as given, the axes that are knobs there; the same name may be a plain
            field of another spec.
        shape: how the axes make points.
        conditions: of the shape, read.
    """

    request: RunRequest
    axes: tuple[Axis, ...]
    knobs: Mapping[str, frozenset[str]]
    shape: Shape = Shape()
    conditions: tuple[Where, ...] = ()

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)

    @cached_property
    def points(self) -> tuple[tuple[str, ...], ...]:
        """Each point's values, in the order of the axes; the last axis varies fastest.

        Of a guided sample all that it may choose from.
        """
        names = [axis.name for axis in self.axes]
        bundles = self.bundles()
        sample = self.shape.sample
        combined: Iterator[tuple[tuple[tuple[str, str], ...], ...]]
        if sample is not None and sample.kind == "lhs":
            combined = iter(_latin([list(values) for values in bundles], sample))
        else:
            combined = itertools.product(*bundles)
        kept = []
        for parts in combined:
            point = dict(pair for part in parts for pair in part)
            if all(condition.holds(point) for condition in self.conditions):
                kept.append(tuple(point[name] for name in names))
        if sample is not None and sample.kind == "random":
            kept = _drawn(kept, sample)
        return tuple(kept)

    def bundles(self) -> list[tuple[tuple[tuple[str, str], ...], ...]]:
        """Axes that vary on their own, one bundle of (name, value) pairs each; zipped ones as one.

        A group stands where the first of its axes stands.
        """
        group_of = {name: group for group in self.shape.zipped for name in group}
        values = {axis.name: axis.values for axis in self.axes}
        found: dict[tuple[str, ...], tuple[tuple[tuple[str, str], ...], ...]] = {}
        for axis in self.axes:
            group = group_of.get(axis.name, (axis.name,))
            if group not in found:
                rows = zip(*(values[name] for name in group), strict=True)
                found[group] = tuple(tuple(zip(group, row, strict=True)) for row in rows)
        return list(found.values())

    def requests(self) -> Iterator[tuple[dict[str, str], RunRequest]]:
        """Each point's values by axis, and the request they make."""
        names = [axis.name for axis in self.axes]
        for values in self.points:
            point = dict(zip(names, values, strict=True))
            yield point, self.request_of(point)

    def request_of(self, point: Mapping[str, str]) -> RunRequest:
        """The request that a point's values by axis make."""
        changed: dict[str, Any] = {}
        hardware = next((point[n] for n in HARDWARE_AXES if n in point), self.request.hardware)
        dims, knobs = dict(self.request.dims), dict(self.request.knobs)
        overrides = dict(self.request.overrides)
        for name, value in point.items():
            if name in HARDWARE_AXES:
                continue
            if name == "batch":
                changed[name] = int(value)
            elif name in _OPTIONS:
                changed[name] = value
            elif name.startswith(_DIM):
                dims[name.removeprefix(_DIM)] = int(value)
            elif name in self.knobs[hardware]:
                knobs[name] = value
            else:
                overrides[name] = value
        return replace(
            self.request,
            hardware=hardware,
            dims=dims,
            knobs=knobs,
            overrides=overrides,
            **changed,
        )


def parse_sample(text: str, seed: int) -> Sample:
    """A sample from ``random:200``, ``lhs:200`` or ``guided:200``.

    Raises:
        OptionError: another form.
    """
    kind, _, count = text.partition(":")
    if kind not in ("random", "lhs", "guided") or not count.isdecimal() or int(count) < 1:
        raise OptionError(f"--sample '{text}': expected random:COUNT, lhs:COUNT or guided:COUNT")
    return Sample(kind, int(count), seed)


def _drawn(points: list[tuple[str, ...]], sample: Sample) -> list[tuple[str, ...]]:
    """Random points, in the order of the grid."""
    import numpy as np

    if sample.count >= len(points):
        return points
    chosen = np.random.default_rng(sample.seed).choice(len(points), sample.count, replace=False)
    return [points[i] for i in sorted(chosen.tolist())]


def _latin(bundles: Sequence[Sequence[Any]], sample: Sample) -> list[tuple[Any, ...]]:
    """A Latin hypercube over the indices of axes, in the order of the grid, each point once."""
    try:
        from scipy.stats import qmc
    except ImportError:
        raise OptionError(
            Problem(
                "--sample lhs: drawn by scipy, which is not installed",
                hint="pip install 'npubench[search]', or take random:COUNT",
            )
        ) from None

    drawn = qmc.LatinHypercube(d=len(bundles), rng=sample.seed).random(sample.count)
    sizes = [len(values) for values in bundles]
    cells = {
        tuple(min(int(u * n), n - 1) for u, n in zip(row, sizes, strict=True)) for row in drawn
    }
    return [
        tuple(values[i] for values, i in zip(bundles, cell, strict=True)) for cell in sorted(cells)
    ]


def plan_sweep(
    request: RunRequest, axes: Sequence[Axis], session: Session, shape: Shape | None = None
) -> SweepPlan:
    """Check a grid before any of it runs.

    An axis is ``workload``, ``hw``, ``batch``, ``precision``, ``objective``, ``dim.NAME``, a knob
    of the spec or the dotted path of one of its fields; where the hardware varies, of every spec.

    Raises:
        OptionError: no axes, an axis given twice, an unknown one, or values it cannot take; with
            every mistake at once.
        InputError: a spec or a workload that cannot be opened.
    """
    if not axes:
        raise OptionError("sweep: no axis given; name one with --axis, such as batch=1,2,4")
    names = [axis.name for axis in axes]
    _refuse_repeats(names)
    check_request(request)
    problems = [text for axis in axes for text in _option_problems(axis)]
    workloads = next((a.values for a in axes if a.name == WORKLOAD_AXIS), (request.workload,))
    machines = next((a.values for a in axes if a.name in HARDWARE_AXES), (request.hardware,))
    of_spec = [a for a in axes if a.name not in _OPTIONS and not a.name.startswith(_DIM)]
    knobs: dict[str, frozenset[str]] = {}
    for hardware in machines:
        document = session.document(hardware, request.knobs, request.overrides)
        knobs[hardware] = frozenset(a.name for a in of_spec if _is_knob(a.name, document))
        for axis in of_spec:
            problems += _spec_problems(axis, hardware, document, request, session)
    shape = shape or Shape()
    problems += _shape_problems(axes, shape)
    if problems:
        raise OptionError(*dict.fromkeys(problems))
    conditions = tuple(parse_where(text, names) for text in shape.where)
    size = math.prod(len(axis.values) for axis in axes)
    if size > MOST_POINTS and not (shape.sample and shape.sample.kind == "lhs"):
        raise OptionError(
            Problem(
                f"sweep: the grid has {size:,} points, more than {MOST_POINTS:,}",
                hint="take fewer values, or --sample lhs:COUNT",
            )
        )
    if not any(name.startswith(_DIM) for name in names):
        for workload in workloads:
            session.network(workload, request.dims)
    plan = SweepPlan(request, tuple(axes), knobs, shape, conditions)
    if not plan.points:
        raise OptionError("sweep: no point meets every --where; the grid is empty")
    return plan


def _shape_problems(axes: Sequence[Axis], shape: Shape) -> list[Problem]:
    """What is wrong with the groups of zipped axes."""
    sizes = {axis.name: len(axis.values) for axis in axes}
    problems: list[Problem] = []
    for group in shape.zipped:
        unknown = [name for name in group if name not in sizes]
        for name in unknown:
            hint = did_you_mean(name, sizes)
            problems.append(Problem(f"--zip {','.join(group)}: '{name}' is no axis", hint=hint))
        if not unknown and len({sizes[name] for name in group}) > 1:
            shown = ", ".join(f"{name} has {sizes[name]}" for name in group)
            problems.append(
                Problem(f"--zip {','.join(group)}: needs as many values of each; {shown}")
            )
    named = [name for group in shape.zipped for name in group]
    problems += [
        Problem(f"--zip: axis '{name}' is in two groups")
        for name in dict.fromkeys(named)
        if named.count(name) > 1
    ]
    return problems


def _refuse_repeats(names: Sequence[str]) -> None:
    # 'hw' and 'hardware' are one axis.
    folded = ["hw" if name in HARDWARE_AXES else name for name in names]
    for name in dict.fromkeys(folded):
        if folded.count(name) > 1:
            raise OptionError(f"--axis {name} is given twice")


def _option_problems(axis: Axis) -> list[Problem]:
    if axis.name == "batch" or axis.name.startswith(_DIM):
        return [
            Problem(f"--axis {axis.name}: expected whole numbers from 1, got '{value}'")
            for value in axis.values
            if not (value.isascii() and value.isdecimal() and int(value) >= 1)
        ]
    problems: list[Problem] = []
    checks: dict[str, Callable[[str], object]] = {
        "precision": check_precision,
        "objective": lambda value: check_objective(value, "--axis objective"),
    }
    if axis.name in checks:
        for value in axis.values:
            try:
                checks[axis.name](value)
            except OptionError as error:
                problems += error.problems
    return problems


def _is_knob(name: str, document: SpecDocument) -> bool:
    return find_node(document.root, ["knobs", name]) is not None


def _spec_problems(
    axis: Axis, hardware: str, document: SpecDocument, request: RunRequest, session: Session
) -> list[Problem]:
    """What is wrong with an axis over a knob or a field of one spec."""
    is_knob = _is_knob(axis.name, document)
    if not is_knob and find_node(document.root, axis.name.split(".")) is None:
        return [_no_such_axis(axis.name, hardware, document)]
    if axis.name in parse_hardware(hardware)[1]:
        return [Problem(f"--axis {axis.name}: '{hardware}' sets that knob itself")]
    problems: list[Problem] = []
    for value in axis.values:
        setting = {axis.name: value}
        try:
            if is_knob:
                session.document(
                    hardware, {**request.knobs, **setting}, request.overrides, "--axis"
                )
            else:
                document.override(axis.name, value, f"--axis {axis.name}={value}")
        except OptionError as error:
            problems += error.problems
    return problems


def _no_such_axis(name: str, hardware: str, document: SpecDocument) -> Problem:
    steps = name.split(".")
    above: Node = document.root
    for depth, step in enumerate(steps):
        below = find_node(above, [step])
        if below is None:
            choices = [".".join((*steps[:depth], key)) for key in _keys(above)]
            if depth == 0:
                choices += [*_OPTIONS, *_keys(find_node(document.root, ["knobs"]))]
            hint = did_you_mean(".".join(steps[: depth + 1]), choices)
            return Problem(f"--axis {name}: '{hardware}' has no such knob or field", hint=hint)
        above = below
    raise ValueError(f"'{name}' exists")


def _keys(node: Node | None) -> tuple[str, ...]:
    if isinstance(node, MappingNode):
        return node.keys()
    if isinstance(node, SequenceNode):
        return tuple(item_name(item) or str(i) for i, item in enumerate(node.items))
    return ()
