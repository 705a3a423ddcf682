"""The commands that look without running: list, show, check, version."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form, Output, records
from npubench.errors import OptionError

__all__ = ["check", "list_", "show", "version"]


class Kind(StrEnum):
    """What ships with npubench."""

    WORKLOADS = "workloads"
    HW = "hw"
    SCENARIOS = "scenarios"


def list_(
    kind: Annotated[Kind, typer.Argument(metavar="workloads|hw|scenarios", help="What to list.")],
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
) -> Answer:
    """The networks, the accelerators or the scenarios that ship with npubench."""
    from npubench.report.catalog_view import hardware_view, scenarios_view, workloads_view
    from npubench.serving.scenario_file import shipped_scenarios
    from npubench.specs.catalog import list_specs, list_workloads

    place = opt.make_output(form, output, force=force, quiet=False)
    if kind is Kind.WORKLOADS:
        view = workloads_view(list_workloads())
    elif kind is Kind.SCENARIOS:
        view = scenarios_view(shipped_scenarios())
    else:
        view = hardware_view(list_specs())
    return Answer(view, lambda: records("npubench.list/1", view), place)


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A network or an accelerator: name or file.")
    ],
    hw: Annotated[bool, typer.Option("--hw", help="NAME is an accelerator.")] = False,
    workload: Annotated[bool, typer.Option("--workload", help="NAME is a network.")] = False,
    equal_area_to: Annotated[
        str | None,
        typer.Option(
            "--equal-area-to",
            envvar="NPUBENCH_EQUAL_AREA_TO",
            metavar="HW|AREA",
            help="Instead: NAME, an array, with as many PEs as fit that area.",
        ),
    ] = None,
    dim: opt.Dims = None,
    layers: opt.Layers = False,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
) -> Answer:
    """What npubench knows of a network (size, operators) or an accelerator (every constant).

    A name that both have is the network's, unless --hw is given.
    """
    from npubench.frontend import LoadedNetwork
    from npubench.report.network_view import network_facts, network_view
    from npubench.report.spec_view import spec_facts, spec_view
    from npubench.study.catalogue import ShownHardware, open_hardware, open_named
    from npubench.study.session import Session

    place = opt.make_output(form, output, force=force, quiet=False)
    if hw and workload:
        raise OptionError("show: give --hw or --workload, not both")
    if workload and equal_area_to is not None:
        raise OptionError("show: --equal-area-to goes with an accelerator, not with --workload")
    dims, session = opt.read_dims(dim), Session()
    if equal_area_to is not None:
        from npubench.report.design_view import equal_area_facts, equal_area_view
        from npubench.study.equal_area import fit_to_area

        sized = fit_to_area(name, equal_area_to, session)
        view, facts = equal_area_view(sized), equal_area_facts(sized)
        return Answer(view, lambda: records("npubench.show/1", view, facts), place)
    found: LoadedNetwork | ShownHardware
    if hw:
        found = open_hardware(name, session)
    elif workload:
        found = session.network(name, dims)
    else:
        found = open_named(name, dims, session)
    if isinstance(found, ShownHardware):
        shown = (found.document, found.header, found.info, found.members)
        view, facts = spec_view(*shown), {"kind": "hardware", **spec_facts(*shown)}
    else:
        view = network_view(found, layers=layers)
        facts = {"kind": "workload", **network_facts(found.network)}
    return Answer(view, lambda: records("npubench.show/1", view, facts), place)


def check(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="YAML specs and ONNX networks.")
    ],
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
) -> Answer:
    """Read files and say everything that is wrong with them; exit 2 if anything is."""
    from npubench.report.catalog_view import checked_view
    from npubench.study.catalogue import check_files

    place = opt.make_output(form, output, force=force, quiet=False)
    view = checked_view([(f.file, f.kind, f.holds) for f in check_files(dict.fromkeys(files))])
    return Answer(view, lambda: records("npubench.check/1", view), place)


def version(form: opt.FormOption = Form.TABLE) -> Answer:
    """The version of npubench and of the libraries that can change a number."""
    import platform

    from npubench.report.table import Table, View, label
    from npubench.study.run import make_stamp

    stamp = make_stamp(0)
    rows = (
        *((name, getattr(stamp, name)) for name in ("npubench", "onnx", "onnxruntime", "numpy")),
        ("python", platform.python_version()),
    )
    table = Table("", (label("name", "Package"), label("version", "Version")), rows)
    view = View(f"npubench {stamp.npubench}", (table,), table)
    return Answer(view, lambda: {"schema": "npubench.version/1", **dict(rows)}, Output(form))
