# ruff: noqa: E501 (messages stand in one piece)
"""Names and values that make no sense; and a few of all cases in a process of their own."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from npubench.specs.catalog import list_specs, list_workloads
from tests.cli.bad_cases import RUN, RUN_SPEC, Case, every, network, option, refused, text
from tests.cli.bad_files import EDGE8, edited, onnx_bytes, write
from tests.cli.cli_process import npubench
from tests.cli.in_process import in_process

OPTIONS = (
    Case(
        "workload",
        "run resnet05 --hw edge8",
        ("unknown network 'resnet05'", "  did you mean 'resnet50'?"),
    ),
    Case(
        "workload and hardware",
        "run resnet05 --hw egde8",
        (
            "unknown network 'resnet05'",
            "  did you mean 'resnet50'?",
            "unknown hardware 'egde8'",
            "  did you mean 'edge8'?",
        ),
    ),
    option(
        "hardware", "run net.onnx --hw egde8", "unknown hardware 'egde8'", "  did you mean 'edge8'?"
    ),
    option(
        "model as hardware",
        "run net.onnx --hw net.onnx",
        "unknown hardware 'net.onnx'",
        "  to read the file of that name, write './net.onnx'",
    ),
    option(
        "hardware with half a knob",
        "run net.onnx --hw edge8:fast",
        "hardware 'edge8:fast': expected NAME or NAME:knob=value,knob=value",
    ),
    Case(
        "name of neither",
        "show resnet05",
        ("no network and no hardware is called 'resnet05'", "  did you mean 'resnet50'?"),
    ),
    option(
        "knob",
        f"{RUN} --knob clok=1GHz",
        "--knob clok=1GHz: unknown knob 'clok'",
        "  did you mean 'clock'?",
    ),
    option(
        "knob in the name",
        "run net.onnx --hw edge8:clok=1GHz",
        "--knob clok=1GHz: unknown knob 'clok'",
        "  did you mean 'clock'?",
    ),
    option(
        "knob out of range",
        f"{RUN} --knob clock=9GHz",
        "--knob clock=9GHz: outside the valid range 0.2..1.2 GHz",
        "  source of the range: assumed",
    ),
    option(
        "knob of another unit",
        f"{RUN} --knob clock=1pJ",
        "--knob clock=1pJ: expected a frequency such as '1 GHz', got '1pJ' (an energy)",
    ),
    option(
        "knob nan",
        f"{RUN} --knob clock=nan",
        "--knob clock=nan: expected a frequency such as '1 GHz', got 'nan'",
    ),
    option("knob without value", f"{RUN} --knob clock=", "--knob 'clock=': expected NAME=VALUE"),
    option(
        "path",
        f"{RUN} --set aray.rows=3",
        "--set aray.rows=3: the spec has no 'aray'",
        "  did you mean 'array'?",
    ),
    option(
        "value of another unit",
        f"{RUN} --set clock=3pJ",
        "--set clock=3pJ: expected a frequency such as '1 GHz', got '3pJ' (an energy)",
    ),
    option(
        "negative value",
        f"{RUN} --set array.rows=-3",
        "--set array.rows=-3: expected a positive whole number such as '128', got '-3'",
    ),
    option(
        "zero value",
        f"{RUN} --set array.rows=0",
        "--set array.rows=0: expected a positive whole number such as '128', got '0'",
    ),
    option(
        "precision",
        f"{RUN} --precision w8a",
        "unknown precision 'w8a': expected w<bits>a<bits> such as w8a8, or a format such as int8, fp64, fp32, tf32, fp16, bf16, fp8e4m3, fp8e5m2, fp6e2m3, fp6e3m2, fp4e2m1",
    ),
    option(
        "precision beyond all",
        f"{RUN} --precision w64a64",
        "precision 'w64a64': widths go from 1 to 32 bits",
    ),
    option(
        "precision beyond the machine",
        f"{RUN} --precision fp32",
        "'edge8' has no format that holds fp32 (layer 'y')",
        "  it executes w8a8: ask for one of these, or for less",
    ),
    option(
        "model's precision",
        f"{RUN} --precision model",
        "--precision model: the model 'net' states no precision",
    ),
    option("batch 0", f"{RUN} --batch 0", "--batch: expected a whole number from 1, got 0"),
    option("batch -1", f"{RUN} --batch -1", "--batch: expected a whole number from 1, got -1"),
    option(
        "huge batch",
        f"{RUN} --batch 99999999999999999999",
        "'net' at batch 99999999999999999999 has 3.89e+23 MACs, more than 1.8e+16",
        "  look at --batch and --dim",
    ),
    option(
        "into a missing folder", f"{RUN} -o none/a.json", "-o none/a.json: no such folder 'none'"
    ),
    option(
        "over an existing file",
        f"{RUN} -o a.json -o net.onnx",
        "-o net.onnx: the suffix decides the format",
        "  known: .txt, .json, .csv, .md",
    ),
    Case(
        "over a result",
        f"{RUN} -o a.json",
        ("-o a.json: the file exists", "  --force replaces it"),
        {"net.onnx": onnx_bytes(), "a.json": b"{}"},
    ),
    option(
        "gate on no metric",
        f"{RUN} --fail-if 'latecy > 3 ms'",
        "--fail-if 'latecy > 3 ms': unknown metric 'latecy'",
        "  did you mean 'latency'?",
    ),
    option(
        "gate of another unit",
        f"{RUN} --fail-if 'latency > 3 pJ'",
        "--fail-if 'latency > 3 pJ': expected a time such as '3 ns', got '3 pJ' (an energy)",
    ),
    option(
        "gate nan",
        f"{RUN} --fail-if 'latency > nan'",
        "--fail-if 'latency > nan': expected a time such as '3 ns', got 'nan'",
    ),
    option(
        "share above 1",
        f"{RUN} --max-unknown 2",
        "--max-unknown: expected a share from 0 to 1, got 2.0",
    ),
    option(
        "share nan",
        f"{RUN} --max-unknown nan",
        "--max-unknown: expected a share from 0 to 1, got nan",
    ),
    option("compare nothing", "compare net.onnx", "compare: no hardware given"),
    option(
        "baseline",
        "compare net.onnx --hw edge8 --baseline tpuv4i",
        "--baseline 'tpuv4i' is not among those compared",
        "  known: edge8",
    ),
    option(
        "no axis",
        "sweep net.onnx --hw edge8",
        "sweep: no axis given; name one with --axis, such as batch=1,2,4",
    ),
    option(
        "axis",
        "sweep net.onnx --hw edge8 --axis clok=1GHz,2GHz",
        "--axis clok: 'edge8' has no such knob or field",
        "  did you mean 'clock'?",
    ),
    option(
        "axis without end",
        "sweep net.onnx --hw edge8 --axis batch=1:9:0",
        "--axis 'batch=1:9:0': the step of '1:9:0' is zero",
    ),
    option(
        "axis of millions",
        "sweep net.onnx --hw edge8 --axis batch=1:999999999:1",
        "--axis 'batch=1:999999999:1': '1:999999999:1' has 999999999 values, more than 100000",
    ),
)

CIRCLE = "net (float[4] x) => (float[4] z) { a = Add(x, b) b = Relu(a) z = Relu(b) }"
IN_A_PROCESS = (
    Case("missing", RUN, ("net.onnx: no such file", "  there is no .onnx file in that folder")),
    network(
        "circle",
        onnx_bytes(CIRCLE),
        "net.onnx: the graph has a circle: node 'a' (Add) -> node 'b' (Relu) -> node 'a' (Add)",
    ),
    network(
        "escape sequence",
        edited(lambda p: p.graph.node[0].input.__setitem__(0, "\x1b[2J")),
        "net.onnx: node 'y' (Conv): operand '\\x1b[2J' is not made by any node, initialiser or input",
        "  known: w, x",
    ),
    option(
        "misspelt hardware",
        "run net.onnx --hw egde8",
        "unknown hardware 'egde8'",
        "  did you mean 'edge8'?",
    ),
    Case(
        "list for a spec",
        "check npu.yaml",
        ("npu.yaml:1:1: a spec is a mapping of keys to values, not a list",),
        {"npu.yaml": b"- 1\n"},
    ),
    network(
        "unknown layer beyond the gate",
        onnx_bytes("net (float[4] x) => (float[4] z) { z = com.acme.Foo(x) }", com_acme=1),
        "warning: net on edge8: 1 layer of unknown operators (com.acme.Foo) with 100.0% of the bytes; see the ledger, or gate with --max-unknown",
        "gate failed: net on edge8: unknown operators carry 1 of bytes, --max-unknown is 0: com.acme.Foo",
        command=f"{RUN} --max-unknown 0",
        code=1,
    ),
)


@every(OPTIONS)
def test_a_name_or_value_that_makes_no_sense(case: Case, tmp_path: Path, monkeypatch) -> None:
    refused(case, tmp_path, monkeypatch)


def test_a_result_beyond_floats_is_no_answer(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = in_process(["run", "digits_cnn", "--hw", "edge8", "--set", "clock=1e-300 Hz"])
    assert (done.code, done.stdout) == (2, "")
    assert re.fullmatch(
        r"the energy-delay product of \d\.\d+e\+\d+ J and \d\.\d+e\+\d+ s is beyond what a float "
        r"holds: look at the clock, the bandwidths and the energies of the spec\n",
        done.stderr,
    )


def test_a_name_like_no_other_gets_the_list() -> None:
    networks = sorted(name for entry in list_workloads() for name in entry.names)
    specs = sorted(name for entry in list_specs() for name in entry.names)
    for command, kind, names in (
        ("run qqqqqqqqqq --hw edge8", "network", networks),
        ("run digits_cnn --hw qqqqqqqqqq", "hardware", specs),
    ):
        shown = f"{', '.join(names[:8])}, ... ({len(names)} in all)"
        done = in_process(command.split())
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr == f"unknown {kind} 'qqqqqqqqqq'\n  known: {shown}\n"


@pytest.mark.parametrize("name", ["net.onnx", "npu.yaml"])
def test_a_file_that_may_not_be_read(name: str, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read anything")
    write(tmp_path, {"net.onnx": onnx_bytes(), "npu.yaml": EDGE8.encode()})
    (tmp_path / name).chmod(0)
    done = npubench(*RUN_SPEC.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{name}: cannot be read: Permission denied\n"


@every(IN_A_PROCESS)
def test_a_process_of_its_own_says_the_same(case: Case, tmp_path: Path) -> None:
    write(tmp_path, case.files)
    done = npubench(*shlex.split(case.command), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (case.code, text(case.lines))
    assert bool(done.stdout) == (case.code == 1)


def test_the_model_behind_these_cases_is_sound(tmp_path: Path) -> None:
    write(tmp_path, {"net.onnx": onnx_bytes(), "npu.yaml": EDGE8.encode()})
    done = npubench(*RUN_SPEC.split(), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("net on edge8 (array, 14 nm): w8a8, batch 1, 3.89 kMAC\n")
