"""The commands that choose and show precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form, records
from npubench.errors import OptionError, Problem

__all__ = ["search", "show"]


def search(
    workload: opt.WorkloadName,
    hw: opt.HardwareName,
    widths: Annotated[
        str | None,
        typer.Option(
            "--widths",
            envvar="NPUBENCH_WIDTHS",
            metavar="P,P,...",
            help="Precisions to choose from. Default: w8a8,w6a6,w4a4,w2a2; w8a8,w4a4 with hawq.",
        ),
    ] = None,
    minimise: Annotated[
        str,
        typer.Option(
            "--minimise",
            envvar="NPUBENCH_MINIMISE",
            metavar="COST",
            help="What to save: latency, energy, edp, size or bops.",
        ),
    ] = "edp",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="COST=N",
            callback=opt.listed("NPUBENCH_MAX"),
            help="Budget in SI units: latency, energy, edp, size, bops, loss, or drop in points. "
            "Repeatable. [env var: NPUBENCH_MAX, separated by ;]",
        ),
    ] = None,
    sensitivity: Annotated[
        str,
        typer.Option(
            "--sensitivity",
            envvar="NPUBENCH_SENSITIVITY",
            metavar="S",
            help="noise or drop, measured on --dataset, or hawq, published for ResNet-18 and -50.",
        ),
    ] = "noise",
    ends: Annotated[
        str | None,
        typer.Option(
            "--ends",
            envvar="NPUBENCH_ENDS",
            metavar="P",
            help="Precision of the first and the last layer. Default: free; w8a8 with hawq.",
        ),
    ] = None,
    points: Annotated[
        int,
        typer.Option("--points", envvar="NPUBENCH_POINTS", metavar="N", help="Plans to show."),
    ] = 10,
    plan: Annotated[
        str | None,
        typer.Option("--plan", metavar="FILE", help="Write the chosen plan for --precision."),
    ] = None,
    dataset: opt.Dataset = None,
    calibration: opt.Calibration = None,
    samples: opt.Samples = None,
    batch: opt.Batch = 1,
    objective: opt.ObjectiveName = "latency",
    dim: opt.Dims = None,
    knob: opt.Knobs = None,
    set_: opt.Settings = None,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> Answer:
    """The width of every layer under budgets, on an accelerator's own costs, and the frontier."""
    from npubench.cli.progress import progress
    from npubench.precision.plan_file import plan_text
    from npubench.report.precision_view import search_facts, search_view
    from npubench.study.accuracy import Measuring, check_measuring
    from npubench.study.precision_request import SearchRequest, parse_budget, parse_objective
    from npubench.study.precision_search import search_precision

    place = opt.make_output(form, output, force=force, quiet=quiet)
    check_measuring(dataset, calibration, samples, None)
    budgets = dict(parse_budget(text) for text in budget or ())
    target = _plan_file(plan, budgets=bool(budgets), force=force)
    default = "w8a8,w4a4" if sensitivity == "hawq" else "w8a8,w6a6,w4a4,w2a2"
    request = SearchRequest(
        workload=workload,
        hardware=hw,
        widths=tuple(part.strip() for part in (widths or default).split(",")),
        dims=opt.read_dims(dim),
        batch=batch,
        knobs=opt.read_pairs("--knob", knob),
        overrides=opt.read_pairs("--set", set_),
        seed=seed,
        objective=parse_objective(minimise),
        mapping_objective=objective,
        budgets=budgets,
        sensitivity=sensitivity,
        ends=ends,
        measuring=(
            None if dataset is None else Measuring(dataset, calibration, samples, None, seed)
        ),
        points=points,
    )
    with progress("sensitivity", quiet=quiet) as step:
        found = search_precision(request, on_step=step)
    if target is not None:
        text = plan_text(found.network, found.rows[0].plan, f"chosen for {found.hardware}")
        target.write_text(text, encoding="utf-8")
    view = search_view(found)
    facts = search_facts(found)
    return Answer(view, lambda: records("npubench.precision/1", view, facts), place)


def _plan_file(plan: str | None, *, budgets: bool, force: bool) -> Path | None:
    if plan is None:
        return None
    if not budgets:
        raise OptionError("--plan: nothing is chosen without --max")
    path = Path(plan)
    if path.suffix not in (".yaml", ".yml") or not path.parent.is_dir():
        raise OptionError(f"--plan {plan}: expected a .yaml file in a folder that exists")
    if path.exists() and not force:
        raise OptionError(Problem(f"--plan {plan}: the file exists", hint="--force replaces it"))
    return path


def show(
    workload: opt.WorkloadName,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="P",
            help="A plan to show layer by layer. Default: all published ones.",
        ),
    ] = None,
    dim: opt.Dims = None,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
) -> Answer:
    """What a plan sets and weighs, or every published plan of a network with its accuracy."""
    from npubench.accuracy.published import find_published_accuracy
    from npubench.precision.published import published_plans
    from npubench.precision.sources import find_plan
    from npubench.report.precision_view import KnownPlan, plan_view, plans_view
    from npubench.study.session import Session

    place = opt.make_output(form, output, force=force, quiet=False)
    loaded = Session().network(workload, opt.read_dims(dim))
    network = loaded.network
    if precision is not None:
        view = plan_view(network, find_plan(precision, network, loaded.plan))
        return Answer(view, lambda: records("npubench.precision/1", view), place)
    names = [n for f in published_plans() if network.name in f.networks for n in f.names]
    uniform = [f"w{bits}a{bits}" for bits in range(8, 1, -1)]
    known = []
    for name in (*uniform, *names):
        plan = find_plan(name, network, loaded.plan)
        row = find_published_accuracy(network, plan)
        if row is not None or name in ("w8a8", "w4a4", *names):
            top1, source = (None, "") if row is None else (row.top1, row.method)
            known.append(KnownPlan(name, plan, top1, source))
    view = plans_view(network, known)
    return Answer(view, lambda: records("npubench.precision/1", view), place)
