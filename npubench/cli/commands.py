"""The commands: each reads its options, calls one function of `npubench.study`, and answers.

Anything heavier than typer is imported inside the command that needs it, which keeps ``--help``
quick; tests/cli/test_cli_startup.py holds this.
"""

from __future__ import annotations

from typing import Annotated

import typer

from npubench import __version__
from npubench.cli import inspection, pictures, precision
from npubench.cli import options as opt
from npubench.cli.output import Answer, Form
from npubench.cli.pareto import pareto
from npubench.cli.serve import serve
from npubench.cli.study import study
from npubench.cli.sweep import results, sweep
from npubench.cli.system import design

__all__ = ["app"]

app = typer.Typer(
    name="npubench",
    help="What will this network cost on this NPU? Latency, energy, EDP and throughput of an ONNX "
    "network on an accelerator described in YAML.",
    epilog="Start with:  npubench list hw  and  npubench run resnet50 --hw tpuv4i",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _example(*lines: str) -> str:
    # The lone backspace keeps the help formatter from filling the lines into a paragraph.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(f"npubench {__version__}")
        raise typer.Exit


@app.command(
    short_help="Run one network on one accelerator.",
    epilog=_example(
        "npubench run resnet50 --hw tpuv4i",
        "npubench run model.onnx --hw my_npu.yaml --batch 8 --layers",
        "npubench run resnet50 --hw edge8 --objective energy",
        "npubench run resnet18 --hw bf_imna --precision-schedule w8a8,w4a4,w8a8",
        "npubench run resnet50 --hw tpuv4i --fail-if 'latency > 5 ms' -o result.json",
    ),
)
def run(
    workload: opt.WorkloadName,
    hw: opt.HardwareName,
    precision: opt.Precision = None,
    precision_schedule: opt.PrecisionSchedule = None,
    dataset: opt.Dataset = None,
    calibration: opt.Calibration = None,
    samples: opt.Samples = None,
    faults: opt.Faults = None,
    batch: opt.Batch = 1,
    objective: opt.ObjectiveName = "latency",
    dim: opt.Dims = None,
    knob: opt.Knobs = None,
    set_: opt.Settings = None,
    layers: opt.Layers = False,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
    seed: opt.Seed = 0,
    max_unknown: opt.MaxUnknown = None,
    strict: opt.Strict = False,
    fail_if: opt.FailIf = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> Answer:
    """One network on one accelerator: latency, energy, EDP, throughput, and where they go."""
    from npubench.cli.progress import progress
    from npubench.report.run_view import coverage_warnings, run_view
    from npubench.study.gates import check_run, parse_gates
    from npubench.study.run import RunRequest
    from npubench.study.run import run as run_one
    from npubench.study.serialise import to_json

    place = opt.make_output(form, output, force=force, quiet=quiet)
    gates = parse_gates(fail_if or (), max_unknown=max_unknown, strict=strict)
    request = RunRequest(
        workload=workload,
        hardware=hw,
        dims=opt.read_dims(dim),
        batch=batch,
        precision=precision,
        knobs=opt.read_pairs("--knob", knob),
        overrides=opt.read_pairs("--set", set_),
        seed=seed,
        dataset=dataset,
        calibration=calibration,
        samples=samples,
        faults=faults,
        objective=objective,
    )
    if precision_schedule is not None:
        from npubench.cli.study import schedule_answer

        gated = bool(fail_if or strict or max_unknown is not None)
        return schedule_answer(request, precision_schedule, place, gated=gated)
    with progress("accuracy", quiet=quiet) as step:
        result = run_one(request, on_sample=step)
    return Answer(
        view=run_view(result, layers=layers, verbose=verbose),
        document=lambda: to_json(result),
        output=place,
        warnings=coverage_warnings(result),
        failures=check_run(result, gates),
    )


@app.command(
    short_help="Compare accelerators on several networks.",
    epilog=_example(
        "npubench compare vgg16 resnet50 --hw tpuv4i --hw edge8",
        "npubench compare vgg16 --hw tpuv4i --hw tpuv4i:clock=0.7GHz",
        "npubench compare vgg16 --hw tpuv4i --hw my.yaml --fail-if 'edp > 1.05x'",
        "npubench compare old.json new.json --format markdown",
    ),
)
def compare(
    workloads: Annotated[
        list[str],
        typer.Argument(
            metavar="WORKLOAD...",
            help="Names of 'npubench list workloads' or ONNX files; or, without --hw, result files "
            "(.json) of earlier runs, the first of which is the baseline.",
        ),
    ],
    hw: Annotated[
        list[str] | None,
        typer.Option(
            "--hw",
            metavar="HW",
            callback=opt.listed("NPUBENCH_HW"),
            help="An accelerator, with knobs if need be. Repeatable. "
            "[env var: NPUBENCH_HW, separated by ;]",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            envvar="NPUBENCH_BASELINE",
            metavar="HW",
            help="What ratios refer to. Default: the first --hw, or the first file.",
        ),
    ] = None,
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
    """Several networks on several accelerators, or saved results, with ratios to one of them."""
    from npubench.cli.progress import progress
    from npubench.report.compare_view import compare_view
    from npubench.report.run_view import coverage_warnings
    from npubench.study.compare import compare as compare_all
    from npubench.study.gates import check_comparison, parse_gates
    from npubench.study.result import Options
    from npubench.study.saved import compare_saved, is_saved
    from npubench.study.serialise import to_json

    place = opt.make_output(form, output, force=force, quiet=quiet)
    gates = parse_gates(fail_if or (), max_unknown=max_unknown, strict=strict, with_baseline=True)
    asked = Options(
        batch=batch,
        dims=opt.read_dims(dim),
        precision=precision,
        knobs=opt.read_pairs("--knob", knob),
        overrides=opt.read_pairs("--set", set_),
        dataset=dataset,
        calibration=calibration,
        samples=samples,
        faults=faults,
        objective=objective,
    )
    if any(map(is_saved, workloads)):
        result = compare_saved(workloads, hw or (), baseline)
    else:
        with progress("compare", quiet=quiet) as step:
            result = compare_all(
                workloads, hw or (), asked, baseline=baseline, seed=seed, on_run=step
            )
    return Answer(
        view=compare_view(result),
        document=lambda: to_json(result),
        output=place,
        warnings=tuple(text for one in result.runs for text in coverage_warnings(one)),
        failures=check_comparison(result, gates),
    )


for _name, _command, _short, _examples in (
    (
        "sweep",
        sweep,
        "Run a grid over knobs, fields and options.",
        (
            "npubench sweep vgg16 --hw tpuv4i --axis clock=0.7:1.1:0.1GHz",
            "npubench sweep vgg16 --hw tpuv4i --axis batch=1,8 --pareto latency,energy",
            "npubench sweep grid.yaml --store grid.db --jobs 2",
        ),
    ),
    (
        "results",
        results,
        "Look into the store of a sweep, or export it.",
        ("npubench results grid.db --where 'vdd < 0.7' --sort edp --limit 10",),
    ),
    (
        "pareto",
        pareto,
        "Trade latency for energy in the mapping.",
        ("npubench pareto resnet18 --hw edge8", "npubench pareto alexnet --hw eyeriss --layers"),
    ),
    (
        "serve",
        serve,
        "Put systems under load: p99, SLO, energy.",
        (
            "npubench serve stimpack_seven --hw stimpack --hw tpuv4i",
            "npubench serve mlperf_server_resnet50 --hw stimpack --find-load",
            "npubench serve my.yaml --hw stimpack --load 0.2:0.9:0.1 --plot a.png",
        ),
    ),
    (
        "study",
        study,
        "Rerun a published comparison, or list them.",
        ("npubench study hawq_sizes --set networks=resnet18", "npubench study"),
    ),
    (
        "plot",
        pictures.plot,
        "Draw a saved result as a picture.",
        (
            "npubench plot sweep.json -o edp.png --kind lines --x vdd --y edp",
            "npubench plot run.json -o layers.svg --kind roofline",
        ),
    ),
    (
        "report",
        pictures.report,
        "Put saved results on one HTML page.",
        ("npubench report run.json sweep.json -o report.html",),
    ),
    (
        "list",
        inspection.list_,
        "List networks, accelerators or scenarios.",
        ("npubench list workloads", "npubench list hw --format json"),
    ),
    (
        "show",
        inspection.show,
        "Show a network's operators or a spec's constants.",
        ("npubench show resnet50 --layers", "npubench show tpuv4i:clock=0.7GHz"),
    ),
    (
        "check",
        inspection.check,
        "Find the mistakes in specs and networks.",
        ("npubench check my_npu.yaml model.onnx",),
    ),
    (
        "version",
        inspection.version,
        "Show the versions that can change a number.",
        ("npubench version --format json",),
    ),
):
    app.command(_name, short_help=_short, epilog=_example(*_examples))(_command)

precisions = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Choose the width of every layer, or show what a plan weighs.",
)
app.add_typer(precisions, name="precision")
precisions.command(
    "search",
    short_help="Find the best widths under budgets.",
    epilog=_example(
        "npubench precision search digits_cnn --hw stimpack --dataset digits",
        "npubench precision search resnet18 --hw stimpack --sensitivity hawq --max size=8e6",
    ),
)(precision.search)
precisions.command(
    "show",
    short_help="Show a plan, or all published ones.",
    epilog=_example(
        "npubench precision show resnet18",
        "npubench precision show resnet18 --precision hawq_latency_0.5",
    ),
)(precision.show)

systems = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Systems of several NPUs.")
app.add_typer(systems, name="system")
systems.command(
    "design",
    short_help="Find the mix of NPU widths for an area.",
    epilog=_example(
        "npubench system design digits_cnn googlenet --area 6.2mm2 --accuracy-drop 5",
        "npubench system design digits_cnn --area 12.4mm2 --widths 4,8 --npus 4 --all",
    ),
)(design)
