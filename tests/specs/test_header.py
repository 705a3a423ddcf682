"""Headers and knobs: defaults, ranges, named values, and mistakes of user and spec author."""

from __future__ import annotations

import pytest

from npubench.errors import OptionError, SpecError
from npubench.specs.header import apply_knobs, knob_corners, read_header
from npubench.specs.loader import SET_BY_USER, SpecDocument
from npubench.specs.quantity import Quantity

KNOBS = """\
knobs:
  clock: {path: clock, range: 0.7..1.2 GHz, help: array clock, source: "Paper, Fig. 4"}
  rows: {path: rows, values: [64, 128]}
  tech:
    help: memory technology
    default: sram
    values:
      sram: {}
      reram:
        memories.sram.read: {value: 0.5 pJ/bit, source: Other}
        mac: 0.2 pJ
  ports: {path: [memories.sram.ports, memories.dram.ports], default: 2}
"""
PORTS = "    ports: 1\n"


@pytest.fixture
def document(text: str) -> SpecDocument:
    text = text.replace("512 KiB\n", "512 KiB\n" + PORTS) + PORTS
    return SpecDocument.from_text(text + KNOBS, "toy.yaml")


def test_header(document: SpecDocument) -> None:
    header = read_header(document)
    assert (header.name, header.aliases, header.family) == ("toy", ("toy_one",), "toys")
    assert (header.title, header.notes) == ("A toy", ())
    assert header.node == Quantity(1.6e-8, "length")
    assert list(header.knobs) == ["clock", "rows", "tech", "ports"]
    assert header.knobs["ports"].path == ("memories.sram.ports", "memories.dram.ports")


def test_notes_may_be_one_paragraph_or_several(text: str) -> None:
    assert read_header(SpecDocument.from_text(text + "notes: one\n")).notes == ("one",)
    assert read_header(SpecDocument.from_text(text + "notes: [a, b]\n")).notes == ("a", "b")


def test_a_header_reports_its_own_mistakes_alone(refuse) -> None:
    text = 'name: to y\nfamily: toys\ntitle: "a\\nb"\nclock: nonsense\n'
    assert refuse(SpecError, lambda: read_header(SpecDocument.from_text(text, "t.yaml"))) == (
        "t.yaml:1:1: missing key 'citation'\n"
        "t.yaml:1:7: name: expected letters, digits, '-' and '_', got 'to y'\n"
        "t.yaml:3:8: title: expected one line of text"
    )


def test_defaults(document: SpecDocument, toy) -> None:
    applied = apply_knobs(document, {})
    assert applied.knobs == {"clock": "1 GHz", "rows": "128", "tech": "sram", "ports": "2"}
    model = applied.validate(toy)
    assert [memory.ports for memory in model.memories] == [2, 2]
    assert model.clock.confidence == "published"


def test_settings(document: SpecDocument, toy) -> None:
    settings = {"clock": "0.9", "rows": "64", "tech": "reram", "ports": "3"}
    applied = apply_knobs(document, settings)
    assert applied.knobs == settings | {"clock": "0.9 GHz"}
    model = applied.validate(toy)
    assert model.clock == Quantity(9e8, "frequency", None, None, SET_BY_USER, "assumed")
    assert model.rows.integer == 64
    read = Quantity(5e-13, "energy_per_bit", None, None, "Other", "published")
    assert model.memories[0].read == read
    assert model.mac.value == 2e-13
    assert [memory.ports for memory in model.memories] == [3, 3]
    assert apply_knobs(document, settings).sha256 == applied.sha256


def test_a_setting_equal_to_the_file_changes_nothing(document: SpecDocument) -> None:
    default = apply_knobs(document, {})
    for clock in ("1", "1 GHz", "1000 MHz"):
        assert apply_knobs(document, {"clock": clock}).sha256 == default.sha256


def test_all_wrong_settings_at_once(document: SpecDocument, refuse) -> None:
    settings = {"clck": "1", "clock": "2", "rows": "100", "tech": "rram"}
    assert refuse(OptionError, lambda: apply_knobs(document, settings)) == (
        "--knob clck=1: unknown knob 'clck'\n"
        "  did you mean 'clock'?\n"
        "--knob clock=2: outside the valid range 0.7..1.2 GHz\n"
        "  source of the range: Paper, Fig. 4\n"
        "--knob rows=100: expected one of 64, 128\n"
        "  known: 128, 64\n"
        "--knob tech=rram: expected one of sram, reram\n"
        "  did you mean 'reram'?"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("3 ns", "expected a frequency such as '1 GHz', got '3 ns' (a time)"),
        ("fast", "expected a frequency such as '1 GHz', got 'fast'"),
        ("", "expected a frequency such as '1 GHz', got ''"),
        ("0.69 GHz", "outside the valid range 0.7..1.2 GHz\n  source of the range: Paper, Fig. 4"),
    ],
)
def test_wrong_values(value: str, message: str, document: SpecDocument, refuse) -> None:
    def act() -> object:
        return apply_knobs(document, {"clock": value}, "--axis")

    assert refuse(OptionError, act) == f"--axis clock={value}: {message}"


def test_ends_of_the_range_are_valid(document: SpecDocument, toy) -> None:
    for value, hertz in (("0.7 GHz", 7e8), ("1.2", 1.2e9), ("1200 MHz", 1.2e9)):
        assert apply_knobs(document, {"clock": value}).validate(toy).clock.value == hertz


def test_a_value_without_range_is_left_to_the_schema(document: SpecDocument, toy, refuse) -> None:
    applied = apply_knobs(document, {"ports": "many"})
    assert refuse(OptionError, lambda: applied.validate(toy)) == (
        "--knob ports=many: expected a whole number, got 'many'"
    )


def test_a_spec_without_knobs(text: str, refuse) -> None:
    document = SpecDocument.from_text(text)
    assert apply_knobs(document, {}) == document
    assert refuse(OptionError, lambda: apply_knobs(document, {"clock": "1 GHz"})) == (
        "--knob clock=1 GHz: unknown knob 'clock'\n"
        "  the spec has no knobs; --set path=value changes any field"
    )


def test_corners_reach_every_end(document: SpecDocument, toy) -> None:
    corners = list(knob_corners(document))
    assert corners == [
        {},
        {"clock": "0.7"},
        {"clock": "1.2 GHz"},
        {"rows": "64"},
        {"rows": "128"},
        {"tech": "sram"},
        {"tech": "reram"},
    ]
    for corner in corners:
        apply_knobs(document, corner).validate(toy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path: clock", "path: clk", "toy.yaml:20:17: knobs.clock.path: the spec has no 'clk'"),
        (
            "path: clock, range",
            "range",
            "toy.yaml:20:3: knobs.clock: missing key 'path' (or a mapping of 'values')",
        ),
        (
            "0.7..1.2 GHz, help",
            "1.2..0.7 GHz, help",
            "toy.yaml:20:31: knobs.clock.range: range '1.2..0.7 GHz' runs downwards: "
            "1.2 is above 0.7",
        ),
        (
            "values: [64, 128]",
            "values: [64], range: 1..2",
            "toy.yaml:21:43: knobs.rows.range: give either 'range' or 'values'",
        ),
        (
            "values: [64, 128]",
            "values: []",
            "toy.yaml:21:22: knobs.rows.values: needs at least one value",
        ),
        (
            "default: sram",
            "default: dram",
            "toy.yaml:24:14: knobs.tech.default: default 'dram' is not one of sram, reram",
        ),
        (
            "default: sram",
            "path: mac",
            "toy.yaml:24:11: knobs.tech.path: goes with a list of values, not with a mapping",
        ),
    ],
)
def test_mistakes_of_the_spec(old: str, new: str, message: str, text: str, refuse) -> None:
    text = text.replace("512 KiB\n", "512 KiB\n" + PORTS) + PORTS + KNOBS.replace(old, new)
    document = SpecDocument.from_text(text, "toy.yaml")
    assert refuse(SpecError, lambda: apply_knobs(document, {})) == message


def test_named_values_are_checked_where_they_stand(text: str, toy, refuse) -> None:
    text = text.replace("512 KiB\n", "512 KiB\n" + PORTS) + PORTS + KNOBS
    wrong = SpecDocument.from_text(text.replace("mac: 0.2 pJ", "mac: 0.2 ns"), "toy.yaml")
    assert refuse(SpecError, lambda: apply_knobs(wrong, {"tech": "reram"}).validate(toy)) == (
        "toy.yaml:29:14: mac: expected an energy such as '0.1 pJ', got '0.2 ns' (a time)"
    )
    wrong = SpecDocument.from_text(
        text.replace("memories.sram.read", "memories.srm.read"), "t.yaml"
    )
    assert refuse(SpecError, lambda: apply_knobs(wrong, {"tech": "reram"})) == (
        "t.yaml:28:9: 'memories' has no 'srm'\n  did you mean 'sram'?"
    )
