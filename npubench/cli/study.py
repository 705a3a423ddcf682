"""The command that lists and runs studies."""

from __future__ import annotations

from typing import Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form, records

__all__ = ["study"]


def study(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A study. Default: list them.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            callback=opt.listed("NPUBENCH_STUDY_SET"),
            help="A parameter of the study. Repeatable. "
            "[env var: NPUBENCH_STUDY_SET, separated by ;]",
        ),
    ] = None,
    form: opt.FormOption = Form.TABLE,
    output: opt.Files = None,
    force: opt.Force = False,
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> Answer:
    """Rerun a published comparison; without a name, list what there is.

    Published figures are marked and stand beside ours. Ctrl-C keeps the tables that are finished.
    """
    from npubench.cli.progress import progress
    from npubench.errors import OptionError
    from npubench.report.study_view import studies_view, study_view
    from npubench.study.studies.document import study_to_json
    from npubench.study.studies.record import StudySection
    from npubench.study.studies.registry import STUDIES, assemble, find_study, study_sections

    place = opt.make_output(form, output, force=force, quiet=quiet)
    settings = opt.read_pairs("--set", set_)
    if name is None:
        if settings:
            raise OptionError("--set: name the study whose parameters these are")
        listing = studies_view(STUDIES.values())
        return Answer(listing, lambda: records("npubench.list/1", listing), place)
    chosen = find_study(name)
    sections: list[StudySection] = []
    left = ""
    with progress(chosen.name, quiet=quiet) as step:
        try:
            for section in study_sections(chosen, settings, seed, on_step=step):
                sections.append(section)
        except KeyboardInterrupt:
            left = f"{len(sections)} finished tables of study '{chosen.name}' are kept"
    result = assemble(chosen, settings, seed, tuple(sections))
    return Answer(
        view=study_view(result, chosen.description),
        document=lambda: study_to_json(result, complete=not left),
        output=place,
        interrupted=left,
    )
