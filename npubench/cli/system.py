"""The commands about systems of several NPUs."""

from __future__ import annotations

from typing import Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form

__all__ = ["design"]


def design(
    workloads: Annotated[
        list[str],
        typer.Argument(metavar="WORKLOAD...", help="Networks, equally often: names or ONNX files."),
    ],
    area: Annotated[
        str,
        typer.Option(
            "--area", envvar="NPUBENCH_AREA", metavar="A", help="Of all NPUs, such as 6.2mm2."
        ),
    ],
    widths: Annotated[
        str,
        typer.Option(
            "--widths",
            envvar="NPUBENCH_NPU_WIDTHS",
            metavar="N,N,...",
            help="Operand bits an NPU may have; losses count from the widest.",
        ),
    ] = "4,5,6,7,8",
    npus: Annotated[
        int | None,
        typer.Option(
            "--npus",
            envvar="NPUBENCH_NPUS",
            metavar="N",
            help="How many share the area equally. Default: as many of the widest as fit.",
        ),
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            "--template",
            envvar="NPUBENCH_TEMPLATE",
            metavar="HW",
            help="Spec of an NPU by its width; {bits} stands for it.",
        ),
    ] = "edge{bits}",
    accuracy_drop: Annotated[
        float,
        typer.Option(
            "--accuracy-drop",
            envvar="NPUBENCH_ACCURACY_DROP",
            metavar="POINTS",
            help="Most points a request may lose.",
        ),
    ] = 0.5,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            envvar="NPUBENCH_DESIGN_POLICY",
            metavar="NAME",
            help="That places requests: hda_q, fastest, least_energy, least_response, ...",
        ),
    ] = "hda_q",
    load: Annotated[
        float,
        typer.Option(
            "--load",
            envvar="NPUBENCH_DESIGN_LOAD",
            metavar="SHARE",
            help="Offered rate over the capacity of the homogeneous design of the widest.",
        ),
    ] = 0.7,
    requests: Annotated[
        int,
        typer.Option(
            "--requests",
            envvar="NPUBENCH_DESIGN_REQUESTS",
            metavar="N",
            help="Simulated for each mix.",
        ),
    ] = 20_000,
    dram: Annotated[
        str | None,
        typer.Option(
            "--dram",
            envvar="NPUBENCH_DRAM",
            metavar="RATE",
            help="Bandwidth that all share, such as 25.6GB/s. Default: each has its template's.",
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all", envvar="NPUBENCH_ALL", help="Show every mix, and why some cannot serve."
        ),
    ] = False,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> Answer:
    """Find the mix of wide and narrow NPUs for an area: energy, response time, accuracy.

    Every NPU takes an equal part of the area; narrower PEs make larger arrays. Every mix serves the
    same requests.
    """
    from npubench import units
    from npubench.cli.progress import progress
    from npubench.errors import OptionError, Problem
    from npubench.report.design_view import design_view
    from npubench.study.system_design import DesignRequest, design_system, design_to_json

    place = opt.make_output(form, output, force=force, quiet=quiet)
    problems: list[Problem | str] = []

    def quantity(option: str, text: str, dimension: str) -> float:
        try:
            return units.parse(text, dimension)
        except units.UnitError as error:
            problems.append(Problem(f"{option}: {error.message}", hint=error.hint))
            return 1.0

    area_mm2 = quantity("--area", area, "area")
    rate = None if dram is None else quantity("--dram", dram, "bandwidth")
    parts = [part.strip() for part in widths.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        problems.append(f"--widths: expected whole numbers such as 4,8, got '{widths}'")
    if rate is not None and not rate > 0:
        problems.append(f"--dram: expected a rate above 0, got '{dram}'")
    if problems:
        raise OptionError(*problems)
    request = DesignRequest(
        workloads=tuple(workloads),
        area_mm2=area_mm2,
        widths=tuple(map(int, parts)),
        npus=npus,
        template=template,
        accuracy_drop=accuracy_drop,
        policy=policy,
        load=load,
        requests=requests,
        dram_bits_per_s=rate,
        seed=seed,
    )
    with progress("mixes", quiet=quiet) as step:
        found = design_system(request, on_mix=step)
    return Answer(design_view(found, every=every), lambda: design_to_json(found), place)
