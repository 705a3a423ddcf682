"""The command that puts systems under load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form, check_target, write_file
from npubench.errors import OptionError, Problem

if TYPE_CHECKING:
    from npubench.study.serve import Served, Serving

__all__ = ["serve"]

_PICTURES = (".png", ".svg")


def serve(
    scenario: Annotated[
        str,
        typer.Argument(metavar="SCENARIO", help="A shipped scenario by name, or a YAML file."),
    ],
    hw: Annotated[
        list[str] | None,
        typer.Option(
            "--hw",
            metavar="HW",
            callback=opt.listed("NPUBENCH_HW"),
            help="A system, with knobs if need be; the first sets rates and bounds. Repeatable. "
            "[env var: NPUBENCH_HW, separated by ;]",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="[HW=]POLICY",
            help="fifo, edf, sjf, prema, least_response, stimpack, threshold, per_request, hda_q, "
            "fastest, least_energy, base_only, eight_bit or static, with fields if need be: "
            "stimpack:switch_at=layer. Default: the spec's own. Repeatable.",
        ),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(
            "--load",
            metavar="LOADS",
            help="Shares of the first system's capacity or rates: 0.7, 0.2:0.9:0.1, '200 rps'. "
            "Default: the scenario's.",
        ),
    ] = None,
    find_load: Annotated[
        bool, typer.Option("--find-load", help="Search the largest load within the bounds.")
    ] = False,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            "--slo",
            metavar="[NETWORK=]BOUND",
            help="Latency bound: '15 ms', or 10x the isolated latency. Repeatable.",
        ),
    ] = None,
    requests: Annotated[
        int | None, typer.Option("--requests", metavar="N", help="Requests a repetition.")
    ] = None,
    repetitions: Annotated[
        int | None, typer.Option("--repetitions", metavar="N", help="Independent runs.")
    ] = None,
    warm_up: Annotated[
        float | None,
        typer.Option("--warm-up", metavar="SHARE", help="First share of requests left out."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", envvar="NPUBENCH_SEED", metavar="N", help="Of whatever is drawn."),
    ] = None,
    modes: Annotated[
        list[str] | None,
        typer.Option(
            "--modes",
            metavar="HW=P,P",
            help="Precisions that a system chooses among, the base first. Repeatable.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            envvar="NPUBENCH_PRECISION",
            metavar="P",
            help="The one precision of every system without --modes, as of run: w8a8, bf16, a "
            "plan file, ... Default: the modes of its spec.",
        ),
    ] = None,
    dim: Annotated[
        list[str] | None,
        typer.Option(
            "--dim",
            metavar="[NETWORK=]NAME=N",
            callback=opt.listed("NPUBENCH_DIM"),
            help="Value of a symbolic dimension, of all networks or of one. Repeatable. "
            "[env var: NPUBENCH_DIM, separated by ;]",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset", metavar="NETWORK=D", help="Measure a network's accuracy. Repeatable."
        ),
    ] = None,
    samples: opt.Samples = None,
    knob: opt.Knobs = None,
    set_: opt.Settings = None,
    records: Annotated[
        Path | None,
        typer.Option("--records", metavar="FILE", help="A row per request: .csv or .parquet."),
    ] = None,
    plot: Annotated[
        list[str] | None,
        typer.Option(
            "--plot",
            metavar="[CHART=]FILE",
            help="A picture, .png or .svg: cdf, load, gantt or queue. Without a name: load where "
            "there are several loads, else cdf. Repeatable.",
        ),
    ] = None,
    fail_if: opt.FailIf = None,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
    quiet: opt.Quiet = False,
) -> Answer:
    """Systems under load: latency, SLO, energy and accuracy of the requests they serve.

    Every system is offered the same requests. Ctrl-C keeps what is finished.
    """
    from npubench.cli.progress import progress
    from npubench.report.serve_view import serve_view
    from npubench.study.serve import finish, prepare
    from npubench.study.serve import serve as serve_all
    from npubench.study.serve_document import serving_to_json
    from npubench.study.serve_gates import check_served, parse_serve_gates
    from npubench.study.serve_request import ServeRequest, parse_loads

    place = opt.make_output(form, output, force=force, quiet=quiet)
    gates = parse_serve_gates(fail_if or ())
    if find_load and load is not None:
        raise OptionError("--find-load: the load is searched; leave out --load")
    charts = _charts(plot, len(parse_loads(load)), force=force)
    if records is not None:
        _check_records(records, force=force)
    request = ServeRequest(
        scenario=scenario,
        hardware=tuple(hw or ()),
        policies=tuple(policy or ()),
        loads=load,
        find_load=find_load,
        slo=tuple(slo or ()),
        seed=seed,
        repetitions=repetitions,
        warmup=warm_up,
        requests=requests,
        knobs=opt.read_pairs("--knob", knob),
        overrides=opt.read_pairs("--set", set_),
        keep_records=records is not None or any(chart != "load" for chart, _ in charts),
        modes=tuple(modes or ()),
        precision=precision,
        dims=opt.read_network_dims(dim),
        datasets=opt.read_pairs("--dataset", dataset),
        samples=samples,
    )
    served: list[Served] = []
    left = ""
    with progress("service times", quiet=quiet) as step:
        prepared = prepare(request, on_step=step)
    with progress("serve", quiet=quiet) as step:
        try:
            for one in serve_all(prepared, step):
                served.append(one)
        except KeyboardInterrupt:
            left = f"{len(served)} of {prepared.steps} results are finished"
    serving = finish(prepared, tuple(served))
    if not left:
        _write(serving, charts, records, force=force)
    return Answer(
        view=serve_view(serving),
        document=lambda: serving_to_json(serving, complete=not left),
        output=place,
        warnings=_warnings(served),
        failures=check_served(served, gates),
        interrupted=left,
    )


def _charts(texts: list[str] | None, loads: int, *, force: bool) -> tuple[tuple[str, Path], ...]:
    """Chart and file of each ``--plot``, checked."""
    found: list[tuple[str, Path]] = []
    for text in texts or ():
        from npubench.report.charts.picture import new_figure
        from npubench.report.charts.serving import check_chart

        chart, equals, file = text.partition("=")
        if not equals:
            chart, file = ("load" if loads > 1 else "cdf"), text
        check_chart(chart, loads=loads, closed=False)
        path = Path(file)
        problem = check_target(path, _PICTURES, force=force)
        if problem is not None:
            raise OptionError(_of("--plot", problem))
        if path in [other for _, other in found]:
            raise OptionError(f"--plot {path}: given twice")
        new_figure(1.0, 1.0)  # says at once that there is nothing to draw with
        found.append((chart, path))
    return tuple(found)


def _check_records(path: Path, *, force: bool) -> None:
    from npubench.study.serve_records import RECORD_SUFFIXES, check_records

    problem = check_target(path, RECORD_SUFFIXES, force=force)
    if problem is not None:
        raise OptionError(_of("--records", problem))
    check_records(path.suffix.lower())


def _of(option: str, problem: Problem) -> Problem:
    """A problem of a file, said of another option than ``-o``."""
    return Problem(problem.message.replace("-o", option, 1), hint=problem.hint)


def _write(
    serving: Serving, charts: tuple[tuple[str, Path], ...], records: Path | None, *, force: bool
) -> None:
    if records is not None:
        from npubench.study.serve_records import records_file

        data = records_file(serving.served, records.suffix.lower())
        write_file(records, data, force=force)
    for chart, path in charts:
        from npubench.report.charts.serving import serve_picture

        picture = serve_picture(serving, chart, path.suffix.lower().removeprefix("."))
        write_file(path, picture, force=force)


def _warnings(served: list[Served]) -> tuple[str, ...]:
    """What a reader must not miss: loads that nobody could carry."""
    return tuple(
        f"{one.system.name}, {one.policy.name} is saturated: no latency is given"
        for one in served
        if one.result is not None and one.result.saturated
    )
