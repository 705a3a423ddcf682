"""The command that trades latency for energy in the mapping."""

from __future__ import annotations

from typing import Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form, records

__all__ = ["pareto"]


def pareto(
    workload: opt.WorkloadName,
    hw: opt.HardwareName,
    points: Annotated[
        int,
        typer.Option(
            "--points", envvar="NPUBENCH_POINTS", metavar="N", help="Points to show, at least 3."
        ),
    ] = 12,
    precision: opt.Precision = None,
    batch: opt.Batch = 1,
    dim: opt.Dims = None,
    knob: opt.Knobs = None,
    set_: opt.Settings = None,
    layers: opt.Layers = False,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
    quiet: opt.Quiet = False,
) -> Answer:
    """The front of latency and energy over the mappings of all layers."""
    from npubench.report.pareto_view import pareto_facts, pareto_view
    from npubench.study.pareto import pareto as find_front
    from npubench.study.run import RunRequest

    place = opt.make_output(form, output, force=force, quiet=quiet)
    request = RunRequest(
        workload=workload,
        hardware=hw,
        dims=opt.read_dims(dim),
        batch=batch,
        precision=precision,
        knobs=opt.read_pairs("--knob", knob),
        overrides=opt.read_pairs("--set", set_),
    )
    front = find_front(request, points)
    view = pareto_view(front, layers=layers)
    shown = pareto_view(front)
    return Answer(view, lambda: records("npubench.pareto/1", shown, pareto_facts(front)), place)
