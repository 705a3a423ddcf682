# ruff: noqa: E501 (messages stand in one piece)
"""Specs that cannot be used: every mistake with its line and column."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from npubench.machines.array.spec import ArraySpec
from tests.cli.bad_cases import RUN_SPEC, Case, every, hardware, refused
from tests.cli.bad_files import EDGE8, onnx_bytes, spec, write, yaml_bomb
from tests.cli.in_process import in_process

KEYS = ", ".join(sorted(ArraySpec.model_fields))
ROWS = "rows: {value: 64"
POWER = "value: 60 mW, range: 20..200 mW"
SPECS = (
    Case(
        "near name",
        "run net.onnx --hw npu.yml",
        ("npu.yml: no such file", "  did you mean 'npu.yaml'?"),
        {"npu.yaml": b"", "net.onnx": onnx_bytes()},
    ),
    Case(
        "missing folder",
        "run net.onnx --hw specs/npu.yaml",
        ("specs/npu.yaml: no such file: there is no folder 'specs'",),
        {"net.onnx": onnx_bytes()},
    ),
    Case(
        "folder",
        RUN_SPEC,
        ("npu.yaml: is a folder, not a spec file",),
        {"npu.yaml": None, "net.onnx": onnx_bytes()},
    ),
    hardware("empty", b"", "npu.yaml:1:1: the file is empty"),
    hardware("only a comment", b"# nothing\n", "npu.yaml:1:1: the file is empty"),
    hardware(
        "list", b"- a\n- b\n", "npu.yaml:1:1: a spec is a mapping of keys to values, not a list"
    ),
    hardware(
        "text",
        b"hello\n",
        "npu.yaml:1:1: a spec is a mapping of keys to values, not a single value",
    ),
    hardware("not UTF-8", b"name: caf\xe9\n", "npu.yaml:1:10: not UTF-8 text: byte 0xE9"),
    hardware("NUL", b"name: a\0b\n", "npu.yaml:1:8: character U+0000 is not allowed"),
    hardware("a model", onnx_bytes(), "npu.yaml:1:1: character U+0008 is not allowed"),
    hardware(
        "a megabyte", b"# " + b"x" * (1 << 20), "npu.yaml:1:1: larger than 1 MiB, not a spec file"
    ),
    hardware(
        "duplicate key",
        spec("clock: {value: 1 GHz", "family: array\nclock: {value: 1 GHz"),
        "npu.yaml:23:1: key 'family' is already given on line 5",
    ),
    hardware(
        "YAML's NaN",
        spec(POWER, "value: .nan W"),
        "npu.yaml:24:23: static_power.value: expected a power such as '250 mW', got '.nan W'",
    ),
    hardware(
        "nan",
        spec(POWER, "value: nan mW"),
        "npu.yaml:24:23: static_power.value: expected a power such as '250 mW', got 'nan mW'",
    ),
    hardware(
        "infinity",
        spec(POWER, "value: inf mW"),
        "npu.yaml:24:23: static_power.value: expected a power such as '250 mW', got 'inf mW'",
    ),
    hardware(
        "negative",
        spec(POWER, "value: -60 mW"),
        "npu.yaml:24:23: static_power.value: must be at least 0, got '-60 mW'",
    ),
    hardware(
        "wrong unit",
        spec("{value: 1 GHz,", "{value: 1 GB/s,"),
        "npu.yaml:23:16: clock.value: expected a frequency such as '1 GHz', got '1 GB/s' (a bandwidth)",
    ),
    hardware(
        "misspelt unit",
        spec("{value: 1 GHz,", "{value: 1 Ghz,"),
        "npu.yaml:23:16: clock.value: expected a frequency such as '1 GHz', got '1 Ghz': unknown unit 'Ghz'",
        "  did you mean 'GHz'?",
    ),
    hardware(
        "no unit",
        spec("{value: 1 GHz,", "{value: 1000000000,"),
        "npu.yaml:23:16: clock.value: expected a frequency such as '1 GHz', got '1000000000' (no unit)",
    ),
    hardware(
        "no value",
        spec('clock: {value: 1 GHz, source: "edge NPU class", confidence: assumed}', "clock:"),
        "npu.yaml:23:1: clock: expected a frequency such as '1 GHz', got nothing",
    ),
    hardware(
        "misspelt key",
        spec("memories:", "memroies:"),
        "npu.yaml:3:1: missing key 'memories'",
        "npu.yaml:18:11: knobs.buffer.path: the spec has no 'memories.buffer.capacity'",
        "npu.yaml:51:1: unknown key 'memroies'",
        f"  did you mean 'memories'?   allowed: {KEYS}",
    ),
    hardware(
        "several at once",
        spec("clock: {value: 1 GHz,", "clok: {value: 1 GJ,"),
        "npu.yaml:3:1: missing key 'clock'",
        "npu.yaml:13:11: knobs.clock.path: the spec has no 'clock'",
        "npu.yaml:23:1: unknown key 'clok'",
        f"  did you mean 'clock'?   allowed: {KEYS}",
    ),
    hardware(
        "unknown family",
        spec("family: array", "family: aray"),
        "npu.yaml:5:9: family: unknown family 'aray'",
        "  did you mean 'array'?",
    ),
    hardware(
        "no family",
        spec("family: array\n", ""),
        "npu.yaml:3:1: missing key 'family'",
        "  known: array, associative, system",
    ),
    hardware(
        "alias",
        spec("node: {value", "node: &n {value") + b"\nother: *n\n",
        "npu.yaml:8:7: node: anchor '&n' is not allowed; write the value again",
        "npu.yaml:81:8: other: alias '*n' is not allowed; write the value again",
    ),
    hardware(
        "deep flow",
        b"a: " + b"[" * 5000 + b"]" * 5000,
        "npu.yaml:1:35: nested deeper than 32 levels",
    ),
    hardware(
        "deep blocks",
        b"".join(b" " * i + b"a:\n" for i in range(300)),
        "npu.yaml:33:33: nested deeper than 32 levels",
    ),
    hardware(
        "code",
        spec("name: edge8", "name: !!python/object/apply:os.system ['id']"),
        "npu.yaml:3:7: name: tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed",
        "  to make a value text, quote it",
    ),
    hardware(
        "tab",
        b"name: a\n\tfamily: array\n",
        "npu.yaml:2:1: not valid YAML: found a tab character that violates indentation while scanning a plain scalar",
    ),
    hardware(
        "open quote",
        b"name: 'a\nfamily: array\n",
        "npu.yaml:3:1: not valid YAML: found unexpected end of stream while scanning a quoted scalar",
    ),
    hardware(
        "two documents",
        EDGE8.encode() + b"\n---\nname: b\n",
        "npu.yaml:81:1: a second document begins here; one file holds one",
    ),
    hardware(
        "merge key",
        spec("static_power:", "<<: {a: 1}\nstatic_power:"),
        "npu.yaml:24:1: merge key '<<' is not allowed; write the keys again",
    ),
    hardware(
        "range downwards",
        spec("20..200 mW", "200..20 mW"),
        "npu.yaml:24:37: static_power.range: range '200..20 mW' runs downwards: 200 is above 20",
    ),
    hardware(
        "outside its own range",
        spec("value: 60 mW", "value: 600 mW"),
        "npu.yaml:24:23: static_power.value: value '600 mW' lies outside its own range '20..200 mW'",
    ),
    hardware(
        "zero",
        spec(ROWS, "rows: {value: 0"),
        "npu.yaml:27:17: array.rows.value: expected a positive whole number such as '128', got '0'",
    ),
    hardware(
        "fraction",
        spec(ROWS, "rows: {value: 1.5"),
        "npu.yaml:27:17: array.rows.value: expected a positive whole number such as '128', got '1.5'",
    ),
    hardware(
        "octal",
        spec(ROWS, "rows: {value: 010"),
        "npu.yaml:27:17: array.rows.value: expected a positive whole number such as '128', got '010'",
    ),
    hardware(
        "sexagesimal",
        spec(ROWS, "rows: {value: 16:30"),
        "npu.yaml:27:17: array.rows.value: expected a positive whole number such as '128', got '16:30'",
    ),
    hardware(
        "dataflow",
        spec("dataflow: weight_stationary", "dataflow: weight_stationery"),
        "npu.yaml:30:13: array.dataflow: expected 'weight_stationary', 'output_stationary', 'input_stationary' or 'unrolled', got 'weight_stationery'",
        "  did you mean 'weight_stationary'?",
    ),
    hardware(
        "number format",
        spec("weight: int8", "weight: itn8"),
        "npu.yaml:41:15: array.formats.int8.weight: unknown number format 'itn8'; did you mean 'int8'?",
    ),
    hardware(
        "memories inside out",
        spec("off_chip: true", "off_chip: false"),
        "npu.yaml:3:1: memories: exactly the outermost memory of input must be off chip",
    ),
    hardware(
        "control characters in a name",
        spec("name: edge8", 'name: "edge\\e[31m8"'),
        "npu.yaml:3:7: name: expected letters, digits, '-' and '_', got 'edge\\x1b[31m8'",
    ),
    Case(
        "many files",
        "check a.yaml b.onnx c.txt d.yaml",
        (
            "a.yaml:1:1: a spec is a mapping of keys to values, not a list",
            "b.onnx: the file is empty",
            "c.txt: neither a spec nor a network; known suffixes: .yaml, .yml, .onnx",
            "d.yaml: no such file",
            "  did you mean 'a.yaml'?",
        ),
        {"a.yaml": b"- 1\n", "b.onnx": b"", "c.txt": b""},
    ),
)


@every(SPECS)
def test_a_spec_with_mistakes(case: Case, tmp_path: Path, monkeypatch) -> None:
    refused(case, tmp_path, monkeypatch)


def test_a_yaml_bomb_does_not_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"npu.yaml": yaml_bomb(), "net.onnx": onnx_bytes()})
    monkeypatch.chdir(tmp_path)
    done = in_process(shlex.split(RUN_SPEC))
    lines = done.stderr.splitlines()
    assert (done.code, done.stdout, len(lines)) == (2, "", 51)
    assert lines[0] == "npu.yaml:1:5: a0: anchor '&a0' is not allowed; write the value again"
    assert lines[2] == "npu.yaml:2:10: a1.0: alias '*a0' is not allowed; write the value again"
    assert lines[50] == "npu.yaml: and 31 more mistakes"
