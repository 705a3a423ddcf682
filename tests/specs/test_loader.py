"""Documents: files, validation with places, overrides, hashes. Messages are asserted whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from npubench.errors import OptionError, SpecError
from npubench.specs.loader import SET_BY_USER, SpecDocument
from npubench.specs.quantity import Energy, Power, Quantity, SpecModel, walk_quantities

HEADER_KEYS = (
    "aliases, citation, clock, dataflow, family, fused, idle, knobs, label, mac, memories, "
)
ALLOWED = HEADER_KEYS + "modes, name, node, notes, parts, rows, scale, scheduler, slack, title"


@pytest.mark.parametrize("number", ["1e3", "0.50", "99999999999999999999999"])
def test_a_number_is_echoed_as_it_was_written(document, toy, refuse, number: str) -> None:
    wrong = document.override("rows", number, "--set rows")
    assert refuse(OptionError, lambda: wrong.validate(toy)) == (
        f"--set rows: expected a positive whole number such as '128', got '{number}'"
    )


def test_choices_are_listed_once(document, toy, refuse) -> None:
    wrong = document.override("mac", "{value: 1 pJ, source: x, confidence: high}", "--set mac")
    assert refuse(OptionError, lambda: wrong.validate(toy)) == (
        "--set mac: expected one of published, secondary, recalled, derived, assumed, calibrated, "
        "got 'high'"
    )


def test_every_mistake_at_its_place(toy, refuse) -> None:
    text = """\
name: toy
family: toys
title: A toy
citation: Nobody
clock: 3 ns
rows: 010
mac: {value: 1 pJ, range: 2..3 pJ, source: Jouppi et al., ISCA 2021, confidence: publishd}
memories:
  - name: sram
    capcity: 512 KiB
    ports: x
  - name: dram
    capacity: 16 GB/s
    ports: 1_000
  - 3
parts: [1]
dataflow: wieght
fused: yes
idle: 1.5
slack: fast
label: 8
aliases: toy two
memry: 4
"""
    assert refuse(SpecError, lambda: SpecDocument.from_text(text, "toy.yaml").validate(toy)) == (
        "toy.yaml:5:8: clock: expected a frequency such as '1 GHz', got '3 ns' (a time)\n"
        "toy.yaml:6:7: rows: expected a positive whole number such as '128', got '010'\n"
        "toy.yaml:7:14: mac.value: value '1 pJ' lies outside its own range '2..3 pJ'\n"
        "toy.yaml:7:59: mac: unknown key 'ISCA 2021'\n"
        "  inside {...} a comma ends a value: quote text with commas   "
        "allowed: confidence, range, source, value\n"
        "toy.yaml:7:82: mac.confidence: expected one of published, secondary, recalled, derived, "
        "assumed, calibrated, got 'publishd'\n"
        "  did you mean 'published'?\n"
        "toy.yaml:9:5: memories.sram: missing key 'capacity'\n"
        "toy.yaml:10:5: memories.sram: unknown key 'capcity'\n"
        "  did you mean 'capacity'?   allowed: capacity, name, ports, read\n"
        "toy.yaml:11:12: memories.sram.ports: expected a whole number, got 'x'\n"
        "toy.yaml:13:15: memories.dram.capacity: expected a capacity such as '512 KiB', "
        "got '16 GB/s' (a bandwidth)\n"
        "toy.yaml:14:12: memories.dram.ports: expected a whole number, got '1_000'\n"
        "  write digits only, with no leading zero, sign or separator\n"
        "toy.yaml:15:5: memories.2: expected a mapping, got '3'\n"
        "toy.yaml:16:1: parts: expected a mapping, got a list\n"
        "toy.yaml:17:11: dataflow: expected 'weight' or 'output', got 'wieght'\n"
        "  did you mean 'weight'?\n"
        "toy.yaml:18:8: fused: expected true or false, got 'yes'\n"
        "toy.yaml:19:7: idle: must be at most 1, got '1.5'\n"
        "toy.yaml:20:8: slack: expected a number such as '0.5' or '1e-3' or 'auto', got 'fast'\n"
        "toy.yaml:21:8: label: expected text, got '8'\n"
        "  to make it text, quote it\n"
        "toy.yaml:22:10: aliases: expected a list, got 'toy two'\n"
        "toy.yaml:23:1: unknown key 'memry'\n"
        f"  did you mean 'memories'?   allowed: {ALLOWED}"
    )


def test_a_missing_key_is_reported_at_its_mapping(toy, refuse) -> None:
    text = "\nname: toy\nfamily: toys\ntitle:\ncitation: x\nmac: 1 pJ\nrows: 8\n"
    assert refuse(SpecError, lambda: SpecDocument.from_text(text, "toy.yaml").validate(toy)) == (
        "toy.yaml:2:1: missing key 'clock'\ntoy.yaml:4:1: title: expected text, got nothing"
    )


def test_author_errors_keep_their_words(refuse) -> None:
    class Pair(SpecModel):
        sides: tuple[int, int]
        share: dict[str, float] = {}  # noqa: RUF012 (pydantic copies defaults)

    def problems(text: str) -> str:
        return refuse(SpecError, lambda: SpecDocument.from_text(text, "p.yaml").validate(Pair))

    assert problems("sides: [1]") == "p.yaml:1:1: sides: missing item 2 of the list"
    assert problems("sides: [1, 2, 3]") == "p.yaml:1:1: sides: needs at most 2 items, got 3"
    assert problems("sides: [1, 2.5]\nshare: {a: b}") == (
        "p.yaml:1:12: sides.1: expected a whole number, got '2.5'\n"
        "p.yaml:2:12: share.a: expected a number such as '0.5' or '1e-3', got 'b'"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "f.yaml:1:1: a spec is a mapping of keys to values, not a list"),
        ("abc", "f.yaml:1:1: a spec is a mapping of keys to values, not a single value"),
    ],
)
def test_the_top_level_is_a_mapping(text: str, message: str, refuse) -> None:
    assert refuse(SpecError, lambda: SpecDocument.from_text(text, "f.yaml")) == message


def test_files(tmp_path: Path, text: str, refuse) -> None:
    (tmp_path / "toy.yaml").write_text(text)
    (tmp_path / "tool.yml").write_text(text)
    (tmp_path / "tpy.txt").write_text(text)
    assert SpecDocument.from_file(tmp_path / "toy.yaml").path == str(tmp_path / "toy.yaml")
    assert SpecDocument.from_file(tmp_path / "toy.yaml", "shown").path == "shown"

    def refused(name: str) -> str:
        path = tmp_path / name
        return refuse(SpecError, lambda: SpecDocument.from_file(path)).replace(str(tmp_path), "DIR")

    assert refused("tpy.yaml") == "DIR/tpy.yaml: no such file\n  did you mean 'toy.yaml'?"
    assert refused("x/tpy.yaml") == "DIR/x/tpy.yaml: no such file: there is no folder 'DIR/x'"
    assert refused(".") == "DIR: is a folder, not a spec file"
    assert refused("a\0b") == "DIR/a\0b: cannot be read: embedded null byte"
    assert refused("n" * 300) == f"DIR/{'n' * 300}: cannot be read: File name too long"
    assert refused("toy.yaml/x") == "DIR/toy.yaml/x: cannot be read: Not a directory"
    (tmp_path / "big.yaml").write_bytes(b"#" * (2**20 + 1))
    assert refused("big.yaml") == "DIR/big.yaml:1:1: larger than 1 MiB, not a spec file"


def quantities(document: SpecDocument, toy) -> dict[str, Quantity]:
    return dict(walk_quantities(document.validate(toy)))


def test_a_value_set_by_the_user_is_an_assumption(document: SpecDocument, toy) -> None:
    before = quantities(document, toy)["clock"]
    assert before == Quantity(1e9, "frequency", 7e8, 1.2e9, "Paper, Table 2", "published")
    for path in ("clock", "clock.value"):
        changed = document.override(path, "2 GHz", f"--set {path}=2 GHz")
        clock = quantities(changed, toy)["clock"]
        assert clock == Quantity(2e9, "frequency", None, None, SET_BY_USER, "assumed")
    assert quantities(document, toy)["clock"] == before


def test_a_value_set_to_what_it_was_stays_as_it_was(document: SpecDocument) -> None:
    for text in ("1 GHz", "1000 MHz", "1.0 GHz"):
        assert document.override("clock", text, f"--set clock={text}") is document


def test_overrides_reach_lists_mappings_and_absent_fields(document: SpecDocument, toy) -> None:
    changed = document
    for path, text in [
        ("memories.sram.capacity", "1 MiB"),
        ("memories.1.read", "{value: 5 pJ/bit, source: Other, confidence: derived}"),
        ("memories.sram.read", "1 pJ/bit"),
        ("fused", "true"),
        ("slack", "auto"),
        ("label", "'8'"),
        ("aliases", "[a, b]"),
        ("parts", "{m: {name: m, capacity: 1 B}}"),
        ("parts.m.ports", "2"),
    ]:
        changed = changed.override(path, text, f"--set {path}={text}")
    model = changed.validate(toy)
    sram, dram = model.memories
    assert (sram.capacity.value, sram.read.value) == (8 * 2**20, 1e-12)
    assert dram.read == Quantity(5e-12, "energy_per_bit", None, None, "Other", "derived")
    assert (model.fused, model.slack, model.label) == (True, "auto", "8")
    assert (model.aliases, model.parts["m"].ports) == (("a", "b"), 2)
    assert changed.sha256 != document.sha256


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("clock", "abc", "expected a frequency such as '1 GHz', got 'abc'"),
        ("clock", "0.9", "expected a frequency such as '1 GHz', got '0.9' (no unit)"),
        ("clock", "", "no value given"),
        ("clock", "[1]", "expected a frequency such as '1 GHz', got a list"),
        ("rows", "0", "expected a positive whole number such as '128', got '0'"),
        (
            "clock",
            "[1",
            "not valid YAML: did not find expected ',' or ']' while parsing a flow sequence",
        ),
        ("clock", "*a", "alias '*a' is not allowed; write the value again"),
        ("clock", "\udcff", "character U+DCFF is not allowed"),
        ("clock", "[" * 99, "nested deeper than 32 levels"),
        ("memry.x", "1", "the spec has no 'memry'\n  did you mean 'memories'?"),
        ("memories.srm.ports", "1", "'memories' has no 'srm'\n  did you mean 'sram'?"),
        ("memories.2", "1", "'memories' has no '2'\n  known: dram, sram"),
        ("name.x", "1", "'name' has no 'x'"),
        ("clock.source.x", "1", "'clock.source' has no 'x'"),
        (
            "memories.sram.capcity",
            "1 B",
            "unknown key 'capcity'\n  did you mean 'capacity'?   "
            "allowed: capacity, name, ports, read",
        ),
        (
            "parts",
            "{m: {name: m, capcity: 1 B, capacity: 1 B}}",
            "unknown key 'capcity'\n  did you mean 'capacity'?   "
            "allowed: capacity, name, ports, read",
        ),
        (
            "",
            "1",
            "the spec has no ''\n  known: aliases, citation, clock, family, mac, memories, "
            "name, node, ... (10 in all)",
        ),
        ("clock.", "1 GHz", "'clock' has no ''\n  known: confidence, range, source, value"),
    ],
)
def test_mistakes_in_overrides_name_the_option(
    path: str, text: str, message: str, document: SpecDocument, toy, refuse
) -> None:
    option = f"--set {path}={text}"

    def act() -> object:
        return document.override(path, text, option).validate(toy)

    assert refuse(OptionError, act) == f"{option}: {message}"


def test_mistakes_of_file_and_option_come_together(text: str, toy, refuse) -> None:
    document = SpecDocument.from_text(text.replace("0.10 pJ", "0.10 pW"), "toy.yaml")
    changed = document.override("rows", "x", "--set rows=x")
    assert refuse(SpecError, lambda: changed.validate(toy)) == (
        "--set rows=x: expected a positive whole number such as '128', got 'x'\n"
        "toy.yaml:10:6: mac: expected an energy such as '0.1 pJ', got '0.10 pW' (a power)"
    )


def test_the_hash_follows_content_alone(document: SpecDocument, text: str) -> None:
    lines = text.replace("# a toy", "# another comment").replace(": toys", ":   'toys'")
    moved = "\n".join(sorted(lines.split("memories:")[0].splitlines(), reverse=True))
    reordered = moved + "\nmemories:" + lines.split("memories:")[1]
    assert SpecDocument.from_text(reordered, "elsewhere.yaml").sha256 == document.sha256
    for old, new in [("0.10", "0.11"), ("128", "'128'"), ("sram", "sram2")]:
        assert SpecDocument.from_text(text.replace(old, new)).sha256 != document.sha256


def test_the_hash_is_pinned() -> None:
    # sha256 of the canonical text {"a":1,"b":[0.5,"x",null]}, computed with sha256sum.
    document = SpecDocument.from_text("b: [0.50, x, ~]   # c\na: 1\n")
    assert document.sha256 == "386eb92be4b4b91d268efd09f0356ee45a45f8bbe18faaa9ddab1810d8a9feb0"


def test_unions_and_bounds_speak_plainly(refuse) -> None:
    class Round(SpecModel):
        kind: Literal["round"]
        radius: int = Field(ge=1, le=9)

    class Square(SpecModel):
        kind: Literal["square"]
        side: float = Field(gt=0, lt=1)

    class Shapes(SpecModel):
        shapes: tuple[Annotated[Round | Square, Field(discriminator="kind")], ...] = Field(
            min_length=2
        )
        power: Energy | Power | None = None
        code: str = Field(default="ab", pattern="^[ab]+$", min_length=2)

    def problems(text: str) -> str:
        return refuse(SpecError, lambda: SpecDocument.from_text(text, "s.yaml").validate(Shapes))

    text = """\
shapes:
  - {kind: round, radius: 0}
  - {kind: square, side: 1}
  - {kind: squares}
  - {radius: 2}
  - {kind: square, radius: 2}
power: 3 ns
code: c
"""
    assert problems(text) == (
        "s.yaml:2:27: shapes.0.radius: must be at least 1, got '0'\n"
        "s.yaml:3:26: shapes.1.side: must be below 1.0, got '1'\n"
        "s.yaml:4:12: shapes.2.kind: expected 'round', 'square', got 'squares'\n"
        "  did you mean 'square'?\n"
        "s.yaml:5:5: shapes.3: missing key 'kind'\n"
        "s.yaml:6:5: shapes.4: missing key 'side'\n"
        "s.yaml:6:20: shapes.4: unknown key 'radius'\n"
        "  allowed: kind, side\n"
        "s.yaml:7:8: power: expected an energy such as '0.1 pJ' or a power such as '250 mW', "
        "got '3 ns' (a time)\n"
        "s.yaml:8:7: code: must be at least 2 characters long, got 'c'"
    )
    assert problems("shapes: []") == "s.yaml:1:1: shapes: needs at least 2 items, got 0"
