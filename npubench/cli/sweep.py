"""The commands around grids: sweep runs one, results looks into what was kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form, Output, check_target, write_file
from npubench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from npubench.report.render import Screen
    from npubench.report.table import View
    from npubench.study.choose import Wish
    from npubench.study.result import Sweep, SweepPoint
    from npubench.study.run import RunRequest
    from npubench.study.session import Session
    from npubench.study.sweep import Spread, SweepPlan
    from npubench.study.sweep_file import SweepFile

__all__ = ["results", "sweep"]

Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        callback=opt.listed("NPUBENCH_WHERE"),
        help="Keep points for which it holds: 'rows == cols'. Repeatable.",
    ),
]
Plot = Annotated[
    bool,
    typer.Option("--plot", help="Also a quick picture in text: the front, or lines over an axis."),
]
Exports = Annotated[
    list[Path] | None,
    typer.Option("--export", metavar="FILE", help="All points as .csv, .jsonl or .parquet."),
]


def sweep(
    workload: Annotated[
        str | None,
        typer.Argument(
            metavar="WORKLOAD|FILE",
            help="A network, or a sweep file (.yaml, or the name of one that ships).",
        ),
    ] = None,
    hw: Annotated[
        str | None,
        typer.Option("--hw", envvar="NPUBENCH_HW", metavar="HW", help="An accelerator."),
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            "--axis",
            metavar="NAME=VALUES",
            callback=opt.listed("NPUBENCH_AXIS"),
            help="What varies: a knob, a field of the spec, batch, precision, objective, "
            "workload, hw or dim.NAME; values are a list 1,2,4 or a range start:stop:step or "
            "start:stop:*factor. Repeatable, the last varies fastest. "
            "[env var: NPUBENCH_AXIS, separated by ;]",
        ),
    ] = None,
    zip_: Annotated[
        list[str] | None,
        typer.Option("--zip", metavar="A,B", help="Axes that advance together. Repeatable."),
    ] = None,
    where: Where = None,
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample",
            metavar="KIND:COUNT",
            help="Some points: random:200, lhs:200 or guided:200 (seeded).",
        ),
    ] = None,
    minimize: Annotated[
        str | None,
        typer.Option("--minimize", metavar="FIGURE", help="Name the best point: edp, top1, ..."),
    ] = None,
    subject_to: Annotated[
        list[str] | None,
        typer.Option(
            "--subject-to", metavar="CONDITION", help="Of the chosen: 'top1 >= 70'. Repeatable."
        ),
    ] = None,
    pareto: Annotated[
        str | None,
        typer.Option("--pareto", metavar="A,B", help="Mark the front: edp,top1,area."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            envvar="NPUBENCH_STORE",
            metavar="FILE",
            help="Keep points in it as they finish, and take from it those it has.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="FILE", help="A --store that must be there already."),
    ] = None,
    export: Exports = None,
    plot: Plot = False,
    jobs: Annotated[
        int, typer.Option("--jobs", envvar="NPUBENCH_JOBS", metavar="N", help="Processes.")
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask", envvar="NPUBENCH_DASK", metavar="ADDRESS", help="A Dask scheduler to run on."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            envvar="NPUBENCH_DRY_RUN",
            help="Print the points and an estimate of the time; run none but to estimate it.",
        ),
    ] = False,
    precision: opt.Precision = None,
    dataset: opt.Dataset = None,
    calibration: opt.Calibration = None,
    samples: opt.Samples = None,
    faults: opt.Faults = None,
    batch: opt.Batch = 1,
    objective: opt.ObjectiveName = "latency",
    dim: opt.Dims = None,
    knob: opt.Knobs = None,
    set_: opt.Settings = None,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
    seed: opt.Seed = 0,
    max_unknown: opt.MaxUnknown = None,
    strict: opt.Strict = False,
    fail_if: opt.FailIf = None,
    quiet: opt.Quiet = False,
) -> Answer:
    """A grid of runs over knobs, spec fields and options.

    Ctrl-C finishes the point, keeps what there is and says how to go on.
    """
    from npubench.report.sweep_view import sweep_view
    from npubench.study.axes import parse_axis
    from npubench.study.choose import choose, parse_wish
    from npubench.study.gates import check_sweep, parse_gates
    from npubench.study.grid import Shape, parse_sample
    from npubench.study.result import Sweep
    from npubench.study.run import RunRequest, make_stamp
    from npubench.study.serialise import to_json
    from npubench.study.session import Session
    from npubench.study.sweep import plan_sweep

    place = opt.make_output(form, output, force=force, quiet=quiet)
    _check_exports(export, force=force)
    gates = parse_gates(fail_if or (), max_unknown=max_unknown, strict=strict)
    file, network = _read_file(workload)
    kind = sample or file.sample
    seed = seed or file.seed or 0
    request = RunRequest(
        workload=network or file.workload or "",
        hardware=hw or file.hw or "",
        dims={**file.dims, **opt.read_dims(dim)},
        batch=file.batch if batch == 1 and file.batch else batch,
        precision=precision or file.precision,
        knobs={**file.knobs, **opt.read_pairs("--knob", knob)},
        overrides={**file.set, **opt.read_pairs("--set", set_)},
        seed=seed,
        dataset=dataset or file.dataset,
        calibration=calibration or file.calibration,
        samples=samples or file.samples,
        faults=faults or file.faults,
        objective=file.objective if objective == "latency" and file.objective else objective,
    )
    axes = [parse_axis(text) for text in (*file.axis_texts, *(axis or ()))]
    _check_named(request, [one.name for one in axes])
    shape = Shape(
        zipped=tuple(_names(text) for text in (*file.zip, *(zip_ or ()))),
        where=(*file.where, *(where or ())),
        sample=None if kind is None else parse_sample(kind, seed),
    )
    conditions = (*file.subject_to, *(subject_to or ()))
    wish = parse_wish(minimize or file.minimize, conditions, pareto or file.pareto)
    guided = shape.sample is not None and shape.sample.kind == "guided"
    if guided:
        _check_guided(wish, jobs, dask, dry_run=dry_run)
    session = Session()
    plan = plan_sweep(request, axes, session, shape)
    if dry_run:
        return _dry_run(plan, session, place)
    points, left = _run(
        plan, session, store, resume, _spread(jobs, dask), wish if guided else None, quiet=quiet
    )
    names = tuple((one.name, one.values) for one in plan.axes)
    result = Sweep(names, points, make_stamp(seed), choose(points, wish))
    failed = sum(point.totals is None for point in points)
    view = sweep_view(result)
    _write_exports(export, view, force=force)
    return Answer(
        view=view,
        document=lambda: to_json(result),
        output=place,
        warnings=(f"{failed} of {len(points)} points failed",) if failed else (),
        failures=check_sweep(result, gates),
        interrupted=left,
        empty=failed == len(points),
        picture=_picture(result) if plot else None,
    )


def results(
    store: Annotated[Path, typer.Argument(metavar="FILE", help="What sweep --store wrote.")],
    where: Where = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="NAME", help="By an axis or figure, lowest first."),
    ] = None,
    descending: Annotated[
        bool, typer.Option("--descending", help="Highest first instead.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="The first N points only.")
    ] = None,
    export: Exports = None,
    plot: Plot = False,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
) -> Answer:
    """The points of a store: filtered, sorted, exported.

    Conditions and order go by axes, by workload, hardware and status, and by figures (edp, top1).
    """
    from npubench.report.sweep_view import store_view
    from npubench.study.serialise import to_json
    from npubench.study.stored import read_stored

    place = opt.make_output(form, output, force=force, quiet=False)
    _check_exports(export, force=force)
    found = read_stored(store, where or (), sort, limit, descending=descending)
    view = store_view(found, store.name)
    _write_exports(export, view, force=force)
    picture = _picture(found) if plot else None
    return Answer(view, lambda: to_json(found), place, picture=picture)


def _picture(result: Sweep) -> Callable[[Screen], Sequence[str]]:
    """Draws lines over the first axis of numbers, or the plane of the front that was asked for."""
    from npubench.report.charts.model import PointChart
    from npubench.report.charts.of_results import chart_of
    from npubench.report.charts.text import text_picture

    def draw(screen: Screen) -> Sequence[str]:
        front = result.choice is not None and result.choice.pareto
        reason = ""
        for kind in ("pareto",) if front else ("lines", "pareto"):
            try:
                chart = chart_of(result, kind)
            except OptionError as error:
                reason = str(error)
                continue
            if isinstance(chart, PointChart):
                return text_picture(chart, screen.width)
        return (f"--plot: {reason}",)

    return draw


def _read_file(name: str | None) -> tuple[SweepFile, str | None]:
    """The options of a sweep file, and the network where the argument names one instead."""
    from npubench.study.sweep_file import (
        SweepFile,
        find_sweep_file,
        is_sweep_file,
        load_sweep_file,
    )

    if name is not None and is_sweep_file(name):
        return load_sweep_file(find_sweep_file(name)), None
    return SweepFile(axes={}), name


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _check_named(request: RunRequest, axes: list[str]) -> None:
    """A network and an accelerator must be named, by an argument, the file or an axis."""
    missing = []
    if not request.workload and "workload" not in axes:
        missing.append("sweep: no network named: give WORKLOAD, or an axis 'workload'")
    if not request.hardware and not {"hw", "hardware"} & set(axes):
        missing.append("sweep: no accelerator named: give --hw, or an axis 'hw'")
    if missing:
        raise OptionError(*missing)


def _spread(jobs: int, dask: str | None) -> Spread | None:
    from npubench.study.spread import on_dask, over_processes

    if dask is not None and jobs != 1:
        raise OptionError("sweep: give --jobs or --dask, not both")
    if dask is not None:
        return on_dask(dask)
    return over_processes(jobs) if jobs != 1 else None


def _check_guided(wish: Wish, jobs: int, dask: str | None, *, dry_run: bool) -> None:
    from npubench.study.guided import check_guided

    if jobs != 1 or dask is not None:
        raise OptionError(
            "sweep: --sample guided asks for one point after another: no --jobs or --dask with it"
        )
    if dry_run:
        raise OptionError("sweep: --sample guided chooses its points as they run: no --dry-run")
    check_guided(wish)


def _run(
    plan: SweepPlan,
    session: Session,
    store: Path | None,
    resume: Path | None,
    spread: Spread | None,
    towards: Wish | None,
    *,
    quiet: bool,
) -> tuple[tuple[SweepPoint, ...], str]:
    """The points that finished, and what is left where Ctrl-C came.

    ``towards`` is what a guided sample searches for.
    """
    import contextlib

    from npubench.cli.progress import interruptible, progress
    from npubench.study.guided import guided_points
    from npubench.study.store import SweepStore
    from npubench.study.sweep import sweep_points

    if store is not None and resume is not None:
        raise OptionError("sweep: give --store or --resume, not both")
    kept = store or resume
    sample = plan.shape.sample
    count = len(plan)
    if towards is not None and sample is not None:
        count = min(count, sample.count)
    points: list[SweepPoint] = []
    with contextlib.ExitStack() as stack:
        opened = None
        if kept is not None:
            opened = stack.enter_context(SweepStore(kept, must_exist=resume is not None))
        step = stack.enter_context(progress("sweep", quiet=quiet))
        interrupt = stack.enter_context(interruptible())
        with contextlib.suppress(KeyboardInterrupt):
            if towards is None:
                running = sweep_points(
                    plan,
                    session,
                    opened,
                    spread,
                    halted=lambda: interrupt.pressed,
                    on_finished=lambda finished: step(finished, count),
                )
                for point in running:
                    points.append(point)
            else:
                for point in guided_points(plan, session, towards, opened):
                    points.append(point)
                    step(len(points), count)
                    if interrupt.pressed:
                        break
    if len(points) == count:
        return tuple(points), ""
    left = f"{len(points)} of {count} points are finished"
    how = f"; --resume {kept} goes on from there" if kept else "; --store FILE would keep them"
    return tuple(points), left + how


def _dry_run(plan: SweepPlan, session: Session, place: Output) -> Answer:
    """The points, and how long they would take by the time of two of them."""
    import time

    from npubench.cli.output import records
    from npubench.report.sweep_view import plan_view
    from npubench.study.sweep import run_point

    requests = list(plan.requests())
    taken = []
    for index in (0, len(requests) // 2):
        start = time.perf_counter()
        run_point(*requests[index], session)
        taken.append(time.perf_counter() - start)
    # The first point also pays for what all share.
    estimate_s = taken[0] + taken[1] * (len(requests) - 1)
    view = plan_view(plan, estimate_s)
    return Answer(view, lambda: records("npubench.plan/1", view), place)


def _check_exports(files: list[Path] | None, *, force: bool) -> None:
    from npubench.report.export import EXPORT_SUFFIXES, check_export

    for path in files or ():
        problem = check_target(path, EXPORT_SUFFIXES, force=force, option="--export")
        if problem is not None:
            raise OptionError(problem)
        check_export(path.suffix.lower())


def _write_exports(files: list[Path] | None, view: View, *, force: bool) -> None:
    from npubench.report.export import export

    for path in files or ():
        write_file(path, export(view.record, path.suffix.lower()), force=force)
