from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from npubench.errors import InputError, ModelError, OptionError, Problem
from npubench.ir import FORMATS, LayerPrecision, integer
from npubench.machines.protocol import MappingSearch
from npubench.study.axes import parse_axis
from npubench.study.compare import compare
from npubench.study.result import Accuracy, Comparison, RunResult, Sweep
from npubench.study.run import RunRequest, run
from npubench.study.serialise import (
    dumps,
    error_to_json,
    from_json,
    load_schema,
    loads,
    to_json,
)
from npubench.study.session import Session
from npubench.study.sweep import sweep
from tests.study.schema_check import SCHEMAS, validate
from tests.study.study_fakes import Library


@pytest.fixture
def result(session: Session) -> RunResult:
    measured = Accuracy("measured", "top1", 75.9, 0.2, 1000, (73.1, 78.4), "the test")
    request = RunRequest(
        "tiny", "toy", {"seq": 3}, 3, "w4a4", {"clock": "2 GHz"}, {"array.rate": "8"}, 11
    )
    request = replace(request, objective="edp")
    search = MappingSearch("edp", 1, 1, 1, 40, 8, 20, 11, 0, 3)
    return replace(run(request, session), accuracy=measured, search=search)


@pytest.fixture
def comparison(session: Session) -> Comparison:
    return compare(["tiny", "wide"], ["toy", "fast"], session=session)


@pytest.fixture
def grid(session: Session) -> Sweep:
    axes = [parse_axis("clock=1,2 GHz"), parse_axis("precision=w16a16,w8a8")]
    return sweep(RunRequest("tiny", "toy"), axes, session)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_schemas_are_sound_and_named(schema: str) -> None:
    loaded = load_schema(schema)
    jsonschema.Draft202012Validator.check_schema(loaded)
    assert loaded["title"] == schema
    assert loaded["properties"]["schema"] == {"const": schema}


def test_there_is_no_other_schema() -> None:
    with pytest.raises(OptionError) as caught:
        load_schema("npubench.serve/9")
    assert str(caught.value) == (
        "no schema 'npubench.serve/9': expected 'npubench.run/1' or 'npubench.compare/1' or "
        "'npubench.sweep/1' or 'npubench.study/1' or 'npubench.serve/1' or "
        "'npubench.system_design/1' or "
        "'npubench.error/1'"
    )


def test_a_run_comes_back(result: RunResult) -> None:
    document = to_json(result)
    validate(document)
    assert from_json(document) == result
    assert loads(dumps(document)) == result


def test_a_comparison_comes_back(comparison: Comparison) -> None:
    validate(to_json(comparison))
    assert loads(dumps(to_json(comparison))) == comparison


def test_a_sweep_comes_back(grid: Sweep) -> None:
    assert {point.status for point in grid.points} == {"ok", "failed"}
    validate(to_json(grid))
    assert loads(dumps(to_json(grid))) == grid


def test_a_baseline_without_energy_has_null_ratios(comparison: Comparison) -> None:
    ratios = tuple(replace(ratio, energy=None, edp=None) for ratio in comparison.ratios)
    powerless = replace(comparison, ratios=ratios)
    validate(to_json(powerless))
    assert loads(dumps(to_json(powerless))) == powerless


def test_the_form_of_a_run(result: RunResult) -> None:
    document = to_json(result)
    assert list(document) == [
        "schema",
        "stamp",
        "workload",
        "hardware",
        "options",
        "precision",
        "totals",
        "layers",
        "accuracy",
        "coverage",
        "assumptions",
        "constants",
        "search",
        "placement",
    ]
    assert document["precision"] == {
        "requested": {"default": "w4a4", "layers": {"fc": "w4a4"}},
        "executed": {"default": "w8a8", "layers": {"fc": "w8a8"}},
    }
    assert document["options"] == {
        "batch": 3,
        "dims": {"seq": 3},
        "precision": "w4a4",
        "knobs": {"clock": "2 GHz"},
        "overrides": {"array.rate": "8"},
        "dataset": None,
        "calibration": None,
        "samples": None,
        "faults": None,
        "objective": "edp",
    }
    # 3 x 32 MACs at 8 a cycle and 2 cycles of stall, at 2 GHz; 96 + 8 pJ for three inferences.
    fc = document["layers"][0]
    assert (fc["macs"], fc["cycles"], fc["precision"]) == (32, 14, "w8a8")
    assert fc["latency_s"] == pytest.approx(7e-9, rel=1e-12)
    assert fc["energy_j"] == pytest.approx(104e-12 / 3, rel=1e-12)
    assert document["totals"]["area_mm2"] is None
    assert document["accuracy"]["interval"] == [73.1, 78.4]


def test_parts_of_the_json_sum_to_its_totals(result: RunResult) -> None:
    document = json.loads(dumps(to_json(result)))
    totals, layers = document["totals"], document["layers"]
    overlap = totals["latency_by_cause"]["overlap"]
    assert sum(layer["cycles"] for layer in layers) + overlap == totals["cycles"]
    energy = sum(layer["energy_j"] for layer in layers) + totals["energy_by_component"]["overlap"]
    assert energy == pytest.approx(totals["energy_j"], rel=1e-9)


def test_the_same_input_gives_the_same_bytes(library: Library) -> None:
    request = RunRequest("tiny", "toy", batch=2)
    first, second = (dumps(to_json(run(request, library.session()))) for _ in range(2))
    assert first == second
    assert first.endswith("}\n")


@pytest.mark.parametrize(
    "precision",
    [
        LayerPrecision(integer(8), integer(8)),
        LayerPrecision(integer(8), integer(8, signed=False)),
        LayerPrecision(FORMATS["bf16"], FORMATS["bf16"]),
        LayerPrecision(FORMATS["fp8e4m3"], FORMATS["bf16"]),
        LayerPrecision(integer(4), FORMATS["fp16"]),
        LayerPrecision(integer(64), integer(64)),
        None,
    ],
)
def test_every_precision_comes_back(result: RunResult, precision: LayerPrecision | None) -> None:
    layers = tuple(replace(layer, precision=precision) for layer in result.layers)
    changed = replace(result, layers=layers)
    assert loads(dumps(to_json(changed))) == changed


def test_not_a_number_has_no_json(result: RunResult) -> None:
    broken = replace(result, totals=replace(result.totals, energy_j=float("nan")))
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(to_json(broken))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        (
            "[]",
            "no result of npubench: schema is None, not 'npubench.run/1' or 'npubench.compare/1' "
            "or 'npubench.sweep/1'",
        ),
        (
            '{"schema": "npubench.run/2"}',
            "no result of npubench: schema is 'npubench.run/2', not 'npubench.run/1' or "
            "'npubench.compare/1' or 'npubench.sweep/1'",
        ),
        ('{"schema": "npubench.run/1"}', "broken result of npubench.run/1: no key 'precision'"),
        (
            '{"schema": "npubench.sweep/1", "axes": 3}',
            "broken result of npubench.sweep/1: 'int' object is not iterable",
        ),
    ],
)
def test_texts_that_are_no_results(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        loads(text)
    assert str(caught.value) == message


def test_a_failure_in_json() -> None:
    error = ModelError(Problem("bad key", "a.yaml", 3, 5, "did you mean 'b'?"), "and more")
    document = error_to_json(error)
    validate(document)
    assert document == {
        "schema": "npubench.error/1",
        "errors": [
            {
                "file": "a.yaml",
                "line": 3,
                "column": 5,
                "message": "bad key",
                "hint": "did you mean 'b'?",
            },
            {"file": None, "line": None, "column": None, "message": "and more", "hint": None},
        ],
        "exit_code": 2,
    }
