"""Text made safe: what a terminal or a table must never see from a model file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from npubench.report.text import ascii_only, bar, clean, plural, shorten_end, shorten_middle


@pytest.mark.parametrize(
    ("dirty", "safe"),
    [
        ("layer4.0/conv2", "layer4.0/conv2"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff", r"\udcff"),
        ("größe 層", "größe 層"),
    ],
)
def test_control_and_invisible_characters_become_escapes(dirty: str, safe: str) -> None:
    assert clean(dirty) == safe


@given(st.text(), st.integers(1, 40))
def test_shortened_text_fits_and_keeps_what_fits(text: str, width: int) -> None:
    text = clean(text)
    for shorten in (shorten_middle, shorten_end):
        short = shorten(text, width)
        assert cell_len(short) <= width
        assert (short == text) == (cell_len(text) <= width)


def test_a_shortened_name_keeps_both_ends() -> None:
    assert shorten_middle("encoder/layer.11/attention/query/MatMul", 21) == "enco…ion/query/MatMul"
    assert shorten_end("ResNet-50 of the paper", 10) == "ResNet-50…"


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, ""), (1.0, "████████"), (0.5, "████"), (0.0625, "▌"), (-0.5, ""), (7.0, "████████")],
)
def test_bars(share: float, shown: str) -> None:
    assert bar(share, 8) == shown


def test_our_own_signs_have_ascii_forms() -> None:
    assert ascii_only("── ███▌▏ a…b") == "-- #### a~b"


def test_plural() -> None:
    assert [plural(1, "layer"), plural(0, "layer")] == ["1 layer", "0 layers"]
