"""Whatever a file or an option holds, the answer is a model or an error for the user."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.errors import InputError
from npubench.specs.header import apply_knobs
from npubench.specs.loader import SpecDocument
from tests.depth import examples

# Pieces that mean something to YAML or to us, so that mutations get past the first line.
PIECES = st.sampled_from(
    [
        *("", " ", "\n", "\n  ", ": ", "- ", "{", "}", "[", "]", ",", "#", "'", '"', "|", ">", "?"),
        *("&a ", "*a", "!t ", "<<: ", "---\n", "...\n", "%YAML 1.1\n", "\t", "~", "null", "true"),
        *("0", "-1", "1e999", "1e-999", "nan", "1..2", "3 pJ", "9" * 25, "1 GHz", "name: x\n"),
        *("knobs: {a: {path: clock, range: 0..1 GHz}}\n", "value: ", "\u00b5", "\u2028", "\x00"),
    ]
)
PATHS = st.one_of(
    st.sampled_from(["clock", "clock.value", "rows", "memories.sram.read", "memories.0", "knobs"]),
    st.text(st.sampled_from("clockrws.0mei-"), max_size=20),
    st.text(max_size=10),
)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300), st.lists(PIECES).map("".join)))
@settings(max_examples=examples(400), deadline=1000)
def test_arbitrary_content(toy, content: bytes | str) -> None:
    with contextlib.suppress(InputError):
        apply_knobs(SpecDocument.from_text(content), {}).validate(toy)


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 12), PIECES), max_size=4))
@settings(max_examples=examples(600), deadline=1000)
def test_mutated_specs(toy, text: str, edits: list[tuple[int, int, str]]) -> None:
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    messages = []
    try:
        document = SpecDocument.from_text(text, "toy.yaml")
        apply_knobs(document, {"a": "1"})
        document.validate(toy)
    except InputError as error:
        messages = [problem.message for problem in error.problems] or [""]
    assert all(message and "Input should" not in message for message in messages)


@given(PATHS, st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=5).map("".join)))
@settings(max_examples=examples(400), deadline=1000)
def test_arbitrary_overrides(toy, text: str, path: str, value: str) -> None:
    document = SpecDocument.from_text(text, "toy.yaml")
    with contextlib.suppress(InputError):
        document = document.override(path, value, "--set")
        assert len(document.sha256) == 64
        document.validate(toy)
        apply_knobs(document, {})
