"""The commands that draw saved results: a picture file, a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from npubench.cli import options as opt
from npubench.cli.output import Answer, Form, Output, check_target, records, write_file
from npubench.errors import OptionError

__all__ = ["plot", "report"]

ResultFiles = Annotated[
    list[str],
    typer.Argument(
        metavar="RESULT...", help="Files that run, compare or sweep wrote with -o FILE.json."
    ),
]


def plot(
    result: Annotated[
        str,
        typer.Argument(metavar="RESULT", help="A file that run, compare or sweep wrote as JSON."),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The picture: FILE.png or FILE.svg."),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="latency, energy (bars by cause or component), roofline, pareto or lines. "
            "Default: the first that the result has.",
        ),
    ] = None,
    x: Annotated[
        str | None,
        typer.Option("--x", metavar="FIELD", help="What lies across: an axis or a figure."),
    ] = None,
    y: Annotated[
        str | None, typer.Option("--y", metavar="FIELD", help="What goes upwards: edp, top1, ...")
    ] = None,
    color: Annotated[
        str | None,
        typer.Option("--color", metavar="FIELD", help="What tells points or lines apart."),
    ] = None,
    force: opt.Force = False,
    form: opt.FormOption = Form.TABLE,
) -> Answer:
    """One chart of a saved result as PNG or SVG."""
    from npubench.report.charts.model import PointChart
    from npubench.report.charts.of_results import chart_of, charts_of, choose_fields
    from npubench.report.charts.picture import PICTURE_SUFFIXES, picture
    from npubench.study.saved import load_result

    _check(output, PICTURE_SUFFIXES, force=force)
    loaded = load_result(result)
    charts = charts_of(loaded) if kind is None else (chart_of(loaded, kind),)
    if not charts:
        raise OptionError(f"{result}: nothing in it can be drawn")
    chart = charts[0]
    if isinstance(chart, PointChart):
        chart = choose_fields(chart, x, y, color)
    elif (x, y, color) != (None, None, None):
        raise OptionError("--x, --y and --color are for pareto and lines")
    data = picture(chart, output.suffix.lower().removeprefix("."))
    write_file(output, data, force=force)
    return _written(output, len(data), chart.title, form)


def report(
    results: ResultFiles,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The page: FILE.html.")
    ],
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="Heading of the page.")
    ] = None,
    force: opt.Force = False,
    form: opt.FormOption = Form.TABLE,
) -> Answer:
    """Saved results as one HTML page that needs no network.

    Tables sort and filter, charts have axes to choose, and every assumption stands on it.
    """
    from npubench.report.page.page import to_page
    from npubench.study.saved import load_result

    _check(output, (".html",), force=force)
    data = to_page([load_result(file) for file in results], title).encode()
    write_file(output, data, force=force)
    return _written(output, len(data), f"results: {len(results)}", form)


def _check(path: Path, suffixes: tuple[str, ...], *, force: bool) -> None:
    problem = check_target(path, suffixes, force=force)
    if problem is not None:
        raise OptionError(problem)


def _written(path: Path, size: int, holds: str, form: Form) -> Answer:
    from npubench.report.table import Table, View, label, quantity

    columns = (
        label("file", "Written", "shorten"),
        quantity("bytes", "Size", "B", [size]),
        label("holds", "Holds", "wrap"),
    )
    table = Table("", columns, ((str(path), size, holds),))
    view = View(f"{path.name}", (table,), table)
    return Answer(view, lambda: records("npubench.written/1", view), Output(form))
