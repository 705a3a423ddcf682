"""Pictures in text: every point where it belongs, plain ASCII, no wider than the terminal."""

from __future__ import annotations

import pytest

from npubench.report.charts.model import Field, PointChart
from npubench.report.charts.text import text_picture
from tests.cli.in_process import in_process


def chart(xs: list[float | None], ys: list[float], names: list[str], **kind: bool) -> PointChart:
    fields = (
        Field("latency_s", "Latency", "s", tuple(xs), "low"),
        Field("energy_j", "Energy", "J", tuple(ys), "low"),
        Field("precision", "precision", "", tuple(names)),
    )
    return PointChart("a title", fields, "latency_s", "energy_j", "precision", **kind)


def cells(lines: tuple[str, ...], sign: str) -> list[tuple[int, int]]:
    """Row from the bottom and column of every sign."""
    rows = [line.split("|", 1)[1] for line in lines if "|" in line]
    return [
        (len(rows) - 1 - r, c) for r, row in enumerate(rows) for c, s in enumerate(row) if s == sign
    ]


def test_points_stand_where_their_values_are() -> None:
    lines = text_picture(chart([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], ["a", "b", "a"]), 60)
    (low, high), (middle,) = cells(lines, "o"), cells(lines, "x")
    low, high = sorted((low, high))
    assert low == (0, 0)
    assert high[0] == 15
    assert high[1] == pytest.approx(2 * middle[1], abs=1)
    assert "  o a" in lines
    assert "  x b" in lines


def test_values_of_several_decades_are_logarithmic() -> None:
    lines = text_picture(chart([1e-6, 1e-3, 1.0], [1.0, 2.0, 3.0], ["a"] * 3), 60)
    first, second, third = sorted(cells(lines, "o"))
    assert second[1] - first[1] == pytest.approx(third[1] - second[1], abs=1)
    assert lines[0] == "Energy against Latency, logarithmic"


@pytest.mark.parametrize("width", [40, 80, 200, None])
def test_it_is_ascii_and_no_wider_than_the_terminal(width: int | None) -> None:
    drawn = chart([1.0, None, 3.0], [1.0, 2.0, 0.5], ["é" * 90, "\x1b[2Jb", "c"], front=True)
    lines = text_picture(drawn, width)
    assert "".join(lines).isascii()
    assert "\x1b" not in "".join(lines)
    assert max(map(len, lines)) <= min(width or 100, 100)
    assert len(cells(lines, "F")) == 2
    assert lines[-1] == "  1 without both figures left out"


def test_one_point_and_none() -> None:
    assert len(cells(text_picture(chart([1.0], [0.0], ["a"]), 50), "o")) == 1
    assert text_picture(chart([None], [1.0], ["a"])) == (
        "No point has both Latency and Energy: there is nothing to draw.",
    )


def test_the_command_draws_it_under_tables_only() -> None:
    command = ["sweep", "digits_cnn", "--hw", "bf_imna", "--axis", "vdd=0.5,0.75,1", "--plot"]
    drawn = in_process(command)
    assert drawn.code == 0
    assert "EDP against vdd" in drawn.stdout
    assert sum(line.count("o") for line in drawn.stdout.splitlines() if " |" in line) == 3
    for form in ("csv", "json", "markdown"):
        plain = in_process([*command, "--format", form])
        assert plain.code == 0
        assert "against" not in plain.stdout
