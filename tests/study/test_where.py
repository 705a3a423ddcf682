"""Conditions between axes: what they mean, and that they are nothing but conditions."""

from __future__ import annotations

import pytest

from npubench.errors import OptionError
from npubench.study.where import parse_where

AXES = ("array.rows", "array.cols", "vdd", "mode", "memories.sram.capacity")
POINT = {
    "array.rows": "16",
    "array.cols": "32",
    "vdd": "0.7 V",
    "mode": "base",
    "memories.sram.capacity": "256 KiB",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("rows == cols", False),
        ("array.rows * 2 == array.cols", True),
        ("rows < cols and vdd >= 0.7", True),
        ("not (rows < cols) or mode == 'base'", True),
        ("mode != 'base'", False),
        ("0.5 < vdd < 0.7", False),
        ("capacity == 8 * 262144", True),
        ("cols // rows == 2 and cols % rows == 0", True),
        ("-rows < 0", True),
    ],
)
def test_conditions_mean_what_they_say(text: str, holds: bool) -> None:
    assert parse_where(text, AXES).holds(POINT) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows ==", "expected a condition such as 'rows == cols and batch <= 8'"),
        ("rowz == 1", "'rowz' is no axis"),
        ("__import__('os')", "\"__import__('os')\" is neither a comparison nor a sum of axes"),
        ("[1 for x in ()]", "'[1 for x in ()]' is neither a comparison nor a sum of axes"),
        ("rows.real.__class__ == 1", "'rows.real.__class__' is no axis"),
    ],
)
def test_anything_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_where(text, AXES)
    shown = str(caught.value).replace('"', "'").splitlines()[0]
    assert shown == f"--where '{text}': {message}".replace('"', "'")


def test_a_name_that_fits_two_axes_is_refused() -> None:
    with pytest.raises(OptionError, match="'rows' is several axes"):
        parse_where("rows > 1", ("a.rows", "b.rows"))


def test_words_do_not_compare_with_numbers() -> None:
    with pytest.raises(OptionError) as caught:
        parse_where("mode < 3", AXES).holds(POINT)
    assert str(caught.value).startswith("--where 'mode < 3': '<' not supported")
    with pytest.raises(OptionError, match="division by zero"):
        parse_where("rows / 0 > 1", AXES).holds(POINT)
