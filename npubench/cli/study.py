"""The command that lists and runs studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form, Output, records

if TYPE_CHECKING:
    from npubench.study.run import RunRequest

__all__ = ["schedule_answer", "study"]


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


def schedule_answer(request: RunRequest, schedule: str, place: Output, *, gated: bool) -> Answer:
    """Consecutive inferences at the precisions of a schedule.

    Raises:
        OptionError: an option that says nothing about several inferences.
    """
    from npubench.cli.progress import progress
    from npubench.errors import OptionError
    from npubench.report.study_view import study_view
    from npubench.study.schedule import parse_schedule, run_schedule
    from npubench.study.studies.document import study_to_json

    excluded = {
        "--precision": request.precision is not None,
        "--dataset": request.dataset is not None,
        "--fail-if, --max-unknown or --strict": gated,
    }
    wrong = [f"--precision-schedule does not go with {name}" for name, on in excluded.items() if on]
    if wrong:
        raise OptionError(*wrong)
    precisions = parse_schedule(schedule)
    with progress("schedule", quiet=place.quiet) as step:
        result = run_schedule(request, precisions, on_step=step)
    view = study_view(result, "Every inference is mapped and costed for itself.")
    return Answer(view, lambda: study_to_json(result), place)
