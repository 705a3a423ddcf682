"""A grid of runs over knobs, options and fields of the spec."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from npubench.errors import InputError, OptionError, Problem, did_you_mean
from npubench.precision.sources import check_precision
from npubench.specs.header import read_header
from npubench.specs.loader import SpecDocument, find_node
from npubench.specs.tree import MappingNode, Node, SequenceNode, item_name
from npubench.study.axes import HARDWARE_AXES, WORKLOAD_AXIS, Axis
from npubench.study.result import Sweep, SweepPoint
from npubench.study.run import RunRequest, check_objective, check_request, make_stamp, run
from npubench.study.session import Session, parse_hardware

__all__ = ["SweepPlan", "plan_sweep", "sweep", "sweep_points"]

_DIM = "dim."
_OPTIONS = (WORKLOAD_AXIS, *HARDWARE_AXES, "batch", "precision", "objective")


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A grid whose axes have been checked.

    Attributes:
        request: what every point has in common.
        axes: the directions of the grid; the last varies fastest.
        knobs: by hardware as given, the axes that are knobs there; the same name may be a plain
            field of another spec.
    """

    request: RunRequest
    axes: tuple[Axis, ...]
    knobs: Mapping[str, frozenset[str]]

    def __len__(self) -> int:
        """Number of points."""
        return math.prod(len(axis.values) for axis in self.axes)

    def requests(self) -> Iterator[tuple[dict[str, str], RunRequest]]:
        """Each point's values by axis, and the request they make."""
        names = [axis.name for axis in self.axes]
        for values in itertools.product(*(axis.values for axis in self.axes)):
            point = dict(zip(names, values, strict=True))
            yield point, self._request_of(point)

    def _request_of(self, point: Mapping[str, str]) -> RunRequest:
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


def plan_sweep(request: RunRequest, axes: Sequence[Axis], session: Session) -> SweepPlan:
    """Check a grid before any of it runs.

    An axis is ``workload``, ``hw``, ``batch``, ``precision``, ``objective``, ``dim.NAME``, a knob
    of the spec or the dotted path of one of its fields; where the hardware varies, of every spec.

    Raises:
        OptionError: no axes, an axis given twice, an unknown one, or values it cannot take; with
            every mistake at once.
        InputError: a spec or a workload that cannot be opened.
    """
    if not axes:
        raise OptionError("sweep: no axis given; the grid has no points")
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
    if problems:
        raise OptionError(*dict.fromkeys(problems))
    if not any(name.startswith(_DIM) for name in names):
        for workload in workloads:
            session.network(workload, request.dims)
    return SweepPlan(request, tuple(axes), knobs)


def sweep_points(plan: SweepPlan, session: Session) -> Iterator[SweepPoint]:
    """Run the points one by one, in order; one that cannot run says why and the next follows."""
    for values, request in plan.requests():
        try:
            result = run(request, session)
        except InputError as error:
            yield SweepPoint(
                axes=values,
                workload=_workload_name(request.workload),
                hardware=_hardware_name(request, session),
                status="failed",
                error=str(error),
            )
        else:
            yield SweepPoint(
                axes=values,
                workload=result.workload.name,
                hardware=result.hardware.name,
                status="ok",
                totals=result.totals,
                accuracy=result.accuracy,
                coverage=result.coverage,
            )


def sweep(
    request: RunRequest,
    axes: Sequence[Axis],
    session: Session | None = None,
    on_point: Callable[[SweepPoint, int], None] | None = None,
) -> Sweep:
    """Check and run a whole grid.

    To keep finished points when interrupted, iterate `sweep_points` instead.

    Args:
        request: what every point has in common.
        axes: see `plan_sweep`.
        session: shared with other runs.
        on_point: called after each point with the point and how many there are in all.
    """
    session = session or Session()
    plan = plan_sweep(request, axes, session)
    points: list[SweepPoint] = []
    for point in sweep_points(plan, session):
        points.append(point)
        if on_point is not None:
            on_point(point, len(plan))
    return Sweep(
        axes=tuple((axis.name, axis.values) for axis in plan.axes),
        points=tuple(points),
        stamp=make_stamp(request.seed),
    )


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


def _workload_name(workload: str) -> str:
    path = PurePath(workload)
    return path.stem if path.suffix == ".onnx" else workload


def _hardware_name(request: RunRequest, session: Session) -> str:
    """The spec's own name; the plan has opened every spec, so only its knobs can be at fault."""
    return read_header(session.document(request.hardware, {}, {})).name
