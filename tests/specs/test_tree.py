"""YAML to nodes: our scalar rules, every refusal with its place, hostile input in no time."""

from __future__ import annotations

import time

import pytest

from npubench.errors import SpecError
from npubench.specs.tree import MAX_BYTES, parse_tree, plain


def refusal(data: bytes | str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_tree(data, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0.5", 0.5),
        ("1e-12", 1e-12),
        ("1e3", 1000.0),
        ("0.9e9", 0.9e9),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        # What PyYAML would have made of these: 8, 990, False, True, 1000, nan, inf, date, 10.
        *((text, text) for text in ("010", "16:30", "no", "On", "1_000", ".nan", ".inf")),
        *((text, text) for text in ("2024-01-01", "0x10", "0o10", "+5", "1.", ".5", "1e999")),
        ("9" * 30, 1e30),
        ("'12'", "12"),
        ('"true"', "true"),
        ("''", ""),
        ("0.1 pJ", "0.1 pJ"),
    ],
)
def test_scalars_follow_our_rules(text: str, value: object) -> None:
    read = plain(parse_tree(f"k: {text}", "f.yaml"))
    assert read == {"k": value}
    assert isinstance(read, dict)
    kind = float if isinstance(read["k"], float) else type(read["k"])
    assert kind is type(value)
    assert kind is not float or str(read["k"]) == text  # messages echo what was written


def test_layout() -> None:
    text = "\ufeffa: [1, {b: 2}]\nc:\n  - x\n  - |\n    two\n    lines\nd:\n"
    expected = {"a": (1, {"b": 2}), "c": ("x", "two\nlines\n"), "d": None}
    assert plain(parse_tree(text.encode(), "f.yaml")) == expected
    assert plain(parse_tree("a: 1\r\nb: \u00e9\r\n".encode(), "f.yaml")) == {"a": 1, "b": "\u00e9"}


def test_all_refusals_at_once() -> None:
    text = """\
base: &x {k: 1}
copy: *x
tagged: !!python/object:os.system x
<<: {k: 2}
base: 3
? [1, 2]
: 4
list:
  - {deep: 1, deep: 2}
"""
    assert refusal(text) == (
        "f.yaml:1:7: base: anchor '&x' is not allowed; write the value again\n"
        "f.yaml:2:7: copy: alias '*x' is not allowed; write the value again\n"
        "f.yaml:3:9: tagged: tag 'tag:yaml.org,2002:python/object:os.system' is not allowed\n"
        "  to make a value text, quote it\n"
        "f.yaml:4:1: merge key '<<' is not allowed; write the keys again\n"
        "f.yaml:5:1: key 'base' is already given on line 1\n"
        "f.yaml:6:3: a key must be plain text\n"
        "f.yaml:9:15: list.0: key 'deep' is already given on line 9"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "f.yaml:1:1: the file is empty"),
        ("# only a comment\n", "f.yaml:1:1: the file is empty"),
        ("---\n...\n", "f.yaml:1:1: the file is empty"),
        (
            "a: 1\n---\nb: 2\n",
            "f.yaml:2:1: a second document begins here; one file holds one",
        ),
        (
            "a:\n\tb: 1\n",
            "f.yaml:2:1: not valid YAML: found character that cannot start any token while "
            "scanning for the next token\n  indent with spaces, not with tabs",
        ),
        (
            "a: 1\nsource: Foo: bar\n",
            "f.yaml:2:12: not valid YAML: mapping values are not allowed in this context\n"
            "  text that contains ': ' needs quotes",
        ),
        (
            "a: [1,\n",
            "f.yaml:2:1: not valid YAML: did not find expected node content while parsing a "
            "flow node",
        ),
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: not UTF-8 text: byte 0xFF"),
        ("a: 1\n".encode("utf-16"), "f.yaml:1:1: not UTF-8 text: byte 0xFF"),
        ("a: 1\nb: \x00\n", "f.yaml:2:4: character U+0000 is not allowed"),
        ("a: \ud800", "f.yaml:1:4: character U+D800 is not allowed"),
        ("a: x\x1b[31m", "f.yaml:1:5: character U+001B is not allowed"),
        ("a" * (MAX_BYTES + 1), "f.yaml:1:1: larger than 1 MiB, not a spec file"),
        ("[" * 33 + "]" * 33, "f.yaml:1:33: nested deeper than 32 levels"),
    ],
)
def test_refusals(data: bytes | str, message: str) -> None:
    assert refusal(data) == message


def test_deepest_allowed() -> None:
    value = plain(parse_tree("[" * 32 + "]" * 32, "f.yaml"))
    for _ in range(31):
        assert isinstance(value, tuple)
        (value,) = value
    assert value == ()


@pytest.mark.parametrize(
    "hostile",
    [
        "[" * 500_000,
        "{a: " * 200_000,
        "- " * 500_000,
        "? " * 500_000,
        "a: 1\n" * 150_000,
        ", ".join(f"&a{i} 1" for i in range(60_000)).join("[]"),
        "a: &a [x, x]\n" + "".join(f"k{i}: [*a, *a]\n" for i in range(50_000)),
        "a: '" + "x\n" * 400_000,
    ],
    ids=["[", "{", "-", "?", "duplicates", "anchors", "aliases", "quote"],
)
def test_hostile_input_is_refused_quickly(hostile: str) -> None:
    start = time.process_time()
    with pytest.raises(SpecError) as caught:
        parse_tree(hostile, "f.yaml")
    assert len(caught.value.problems) <= 51
    # Generous: the slowest takes about a second here; a quadratic one would take minutes.
    assert time.process_time() - start < 20


def test_many_mistakes_are_cut() -> None:
    lines = refusal("a: 1\n" * 100).splitlines()
    assert len(lines) == 51
    assert lines[-1] == "f.yaml: and 49 more mistakes"
