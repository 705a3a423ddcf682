"""Running the points of a sweep: here, in processes, or on a cluster; from a store where it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, TypeAlias

import npubench
from npubench.errors import InputError, OptionError
from npubench.machines.hosting import System
from npubench.specs.header import read_header
from npubench.study.axes import Axis
from npubench.study.grid import Shape, SweepPlan, plan_sweep
from npubench.study.operating import run_tuned, tuning_key
from npubench.study.result import RunResult, Sweep, SweepPoint
from npubench.study.run import RunRequest, make_stamp, run
from npubench.study.serialise import point_from_json, point_to_json
from npubench.study.session import Session, parse_hardware
from npubench.study.store import SweepStore, content_key
from npubench.study.supply import run_at_supply

__all__ = [
    "Group",
    "Spread",
    "SweepPlan",
    "Task",
    "plan_sweep",
    "point_key",
    "run_groups",
    "run_point",
    "run_points",
    "sweep",
    "sweep_points",
]

Point: TypeAlias = Mapping[str, str]
Task: TypeAlias = tuple[Point, RunRequest]
Group: TypeAlias = Sequence[tuple[int, SweepPoint]]
"""Points that finished together, each with its place among the tasks."""
Spread: TypeAlias = Callable[[Sequence[Task], Callable[[], bool]], Iterator[Group]]
"""Runs tasks, starting nothing more once the second argument is true; groups in any order."""

# Points of one batch: few enough that progress shows and that a kill loses little.
_TOGETHER = 512


def sweep_points(
    plan: SweepPlan,
    session: Session,
    store: SweepStore | None = None,
    spread: Spread | None = None,
    halted: Callable[[], bool] = lambda: False,
    on_finished: Callable[[int], None] = lambda _: None,
) -> Iterator[SweepPoint]:
    """The points of a plan, in order; one that cannot run says why and the next follows.

    Args:
        plan: checked.
        session: what points have in common is worked out once.
        store: points in it are taken from there; others are added to it as they finish, which may
            be long before their turn.
        spread: runs points elsewhere; None runs them here.
        halted: asked now and then; once it is true nothing more is started, what runs is finished
            and kept, and the points there are come in order, without those that are missing.
        on_finished: called with the number of points finished so far, those of the store included.

    Raises:
        InputError: the store cannot be written.
        OptionError: a guided sample, which `npubench.study.guided` runs.
    """
    if plan.shape.sample is not None and plan.shape.sample.kind == "guided":
        raise OptionError("a guided sample chooses its points as they run: see guided_points")
    requests = list(plan.requests())
    keys = [point_key(request, session) for _, request in requests] if store is not None else []
    ready: dict[int, SweepPoint] = {}
    if store is not None:
        for index, ((axes, _), key) in enumerate(zip(requests, keys, strict=True)):
            found = store.find(key)
            if found is not None:
                ready[index] = replace(point_from_json(found), axes=axes)
    missing = [i for i in range(len(requests)) if i not in ready]
    finished, turn = len(ready), 0
    tasks = [requests[i] for i in missing]
    for group in (spread or _here(session))(tasks, halted):
        fresh = [(missing[i], point) for i, point in group]
        if store is not None:
            store.add_all((keys[i], point_to_json(point)) for i, point in fresh)
        ready.update(fresh)
        finished += len(fresh)
        on_finished(finished)
        while turn in ready:
            yield ready.pop(turn)
            turn += 1
    yield from (ready[i] for i in sorted(ready))


def _here(session: Session) -> Spread:
    def run(tasks: Sequence[Task], halted: Callable[[], bool]) -> Iterator[Group]:
        for group in run_groups(tasks, session):
            yield group
            if halted():
                return

    return run


def run_groups(tasks: Sequence[Task], session: Session) -> Iterator[Group]:
    """Points as they finish, with their places: one, or several that were costed together.

    Those that differ in clock and supply alone are. Each task comes once.
    """
    keys: list[object] = []
    tried: set[int] = set()
    done: set[int] = set()
    for at, (axes, request) in enumerate(tasks):
        if at not in tried:
            ahead = range(at, min(at + _TOGETHER, len(tasks)))
            keys += [tuning_key(tasks[i][1], session) for i in range(len(keys), ahead.stop)]
            like = [i for i in ahead if keys[i] == keys[at]] if keys[at] is not None else []
            results = run_tuned([tasks[i][1] for i in like], session) if like else ()
            group = [
                (i, _ok(tasks[i][0], result))
                for i, result in zip(like, results, strict=True)
                if result is not None
            ]
            tried.update(like)
            done.update(i for i, _ in group)
            if group:
                yield group
        if at not in done:
            yield [(at, run_point(axes, request, session))]


def run_points(tasks: Sequence[Task], session: Session) -> Iterator[SweepPoint]:
    """`run_groups` in the order of the tasks."""
    ready: dict[int, SweepPoint] = {}
    turn = 0
    for group in run_groups(tasks, session):
        ready.update(group)
        while turn in ready:
            yield ready.pop(turn)
            turn += 1


def run_point(axes: Point, request: RunRequest, session: Session) -> SweepPoint:
    """One point: its figures, or why there are none."""
    try:
        result = run_at_supply(request, session) or run(request, session)
    except InputError as error:
        return SweepPoint(
            axes=axes,
            workload=_workload_name(request.workload),
            hardware=_hardware_name(request, session),
            status="failed",
            error=str(error),
        )
    return _ok(axes, result)


def _ok(axes: Point, result: RunResult) -> SweepPoint:
    return SweepPoint(
        axes=axes,
        workload=result.workload.name,
        hardware=result.hardware.name,
        status="ok",
        totals=result.totals,
        accuracy=result.accuracy,
        coverage=result.coverage,
    )


def point_key(request: RunRequest, session: Session) -> str:
    """The hash of everything that a point's figures hang on.

    Model and spec count by content, knobs and overrides included; files of plans and data sets by
    content too. Where a point cannot run, its request as written stands for them.
    """
    # Read from the installed metadata, which takes milliseconds.
    stamp = session.keep(("versions",), lambda: make_stamp(0))
    parts: dict[str, Any] = {
        "npubench": npubench.__version__,
        "versions": [stamp.onnx, stamp.onnxruntime, stamp.numpy],
        "batch": request.batch,
        "dims": dict(sorted(request.dims.items())),
        "precision": _with_content(request.precision),
        "objective": request.objective,
    }
    if request.dataset is not None:
        parts["accuracy"] = [
            _with_content(request.dataset),
            request.calibration,
            request.samples,
            request.faults,
            request.seed,
        ]
    try:
        network = session.network(request.workload, request.dims).network
        spec = _spec_parts(request, session)
    except InputError:
        parts["written"] = [
            request.workload,
            request.hardware,
            sorted(request.knobs.items()),
            list(request.overrides.items()),
        ]
    else:
        parts["model"] = [network.name, network.sha256]
        parts["spec"] = spec
    return content_key(parts)


def _spec_parts(request: RunRequest, session: Session) -> list[object]:
    """Content of a spec and what is set in it.

    The settings count as written: to build a machine for each point takes longer than many points.

    Raises:
        InputError: no such spec, or mistakes in it.
    """
    name, own = parse_hardware(request.hardware)
    base = session.machine(name, {}, {})
    if session.keep(("system", name), lambda: isinstance(base, System)):
        # A setting may name another spec, whose content counts too.
        return [session.machine(request.hardware, request.knobs, request.overrides).info.sha256]
    settings = sorted({**request.knobs, **own}.items())
    return [base.info.sha256, settings, list(request.overrides.items())]


def _with_content(name: str | None) -> str | None:
    """A name, and the hash of the file's content where it names one."""
    if name is None or not PurePath(name).suffix:
        return name
    from hashlib import sha256
    from pathlib import Path

    path = Path(name)
    if not path.is_file():
        return name
    return f"{path.name}:{sha256(path.read_bytes()).hexdigest()}"


def sweep(
    request: RunRequest,
    axes: Sequence[Axis],
    session: Session | None = None,
    on_point: Callable[[SweepPoint, int], None] | None = None,
    shape: Shape | None = None,
) -> Sweep:
    """Check and run a whole grid.

    To keep finished points when interrupted, iterate `sweep_points` instead.

    Args:
        request: what every point has in common.
        axes: see `plan_sweep`.
        session: shared with other runs.
        on_point: called after each point with the point and how many there are in all.
        shape: how axes make points.
    """
    session = session or Session()
    plan = plan_sweep(request, axes, session, shape)
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


def _workload_name(workload: str) -> str:
    path = PurePath(workload)
    return path.stem if path.suffix == ".onnx" else workload


def _hardware_name(request: RunRequest, session: Session) -> str:
    """The spec's own name; the plan has opened every spec, so only its knobs can be at fault."""
    return read_header(session.document(request.hardware, {}, {})).name
