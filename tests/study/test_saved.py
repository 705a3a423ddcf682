"""Saved results: read back, set side by side, and told apart from everything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from npubench.errors import InputError, OptionError
from npubench.study.result import Comparison, RunResult, Sweep
from npubench.study.saved import compare_saved, load_result
from npubench.study.serialise import dumps, to_json
from tests.report.report_records import make_comparison, make_run, make_sweep


def save(folder: Path, name: str, result: RunResult | Comparison | Sweep) -> str:
    path = folder / name
    path.write_text(dumps(to_json(result)), encoding="utf-8")
    return str(path)


def dearer(run: RunResult, factor: float) -> RunResult:
    totals = run.totals
    return replace(
        run,
        totals=replace(totals, energy_j=totals.energy_j * factor, edp_js=totals.edp_js * factor),
    )


def test_ratios_are_to_the_first_file(tmp_path: Path) -> None:
    old = save(tmp_path, "old.json", make_run())
    new = save(tmp_path, "new.json", dearer(make_run(), 2.0))
    found = compare_saved([old, new])
    assert found.baseline == "old (tpuv4i)"
    assert [(r.hardware, r.latency, r.energy, r.edp) for r in found.ratios] == [
        ("old (tpuv4i)", 1.0, 1.0, 1.0),
        ("new (tpuv4i)", 1.0, 2.0, 2.0),
    ]
    other = compare_saved([old, new], baseline="new")
    assert [r.energy for r in other.ratios] == [0.5, 1.0]


def test_files_of_several_accelerators_are_compared_pair_by_pair(tmp_path: Path) -> None:
    whole = make_comparison()
    worse = replace(whole, runs=tuple(dearer(run, 3.0) for run in whole.runs))
    files = [save(tmp_path, "a.json", whole), save(tmp_path, "b.json", worse)]
    found = compare_saved(files)
    ratios = {(r.workload, r.hardware): r.energy for r in found.ratios}
    pairs = [f"{w} on {h}" for w in ("resnet50", "bert_base") for h in ("tpuv4i", "edge8")]
    assert all(ratios[pair, "b"] == pytest.approx(3.0) for pair in (*pairs, "geomean"))
    assert all(ratios[pair, "a"] == pytest.approx(1.0) for pair in (*pairs, "geomean"))


def test_a_file_of_before_an_optional_field_was_there_is_read(tmp_path: Path) -> None:
    document = to_json(make_run())
    del document["options"]["objective"], document["search"]
    path = tmp_path / "old.json"
    path.write_text(dumps(document), encoding="utf-8")
    assert load_result(path) == make_run()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        ('{"schema": "npubench.run/9"}', "no result of npubench: schema is 'npubench.run/9', not"),
        ('{"schema": "npubench.run/1"}', "broken result of npubench.run/1: no key 'precision'"),
    ],
)
def test_what_is_no_result_is_refused_with_its_name(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_result(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_files_that_do_not_match_are_refused_with_every_reason(tmp_path: Path) -> None:
    run = make_run()
    other = replace(run, workload=replace(run.workload, name="vgg16"))
    changed = replace(run, workload=replace(run.workload, sha256="ef" * 32))
    one = save(tmp_path, "one.json", run)
    cases = [
        ([one], (), "compare: needs at least two result files"),
        ([one, one], (), "compare: a result file is given twice"),
        (
            [one, "resnet50"],
            (),
            "compare: result files (.json) do not go together with 'resnet50'",
        ),
        (
            [one, one],
            ("tpuv4i",),
            "compare: result files (.json) do not go together with --hw (or NPUBENCH_HW)",
        ),
        (
            [one, save(tmp_path, "two.json", other)],
            (),
            "compare: two (tpuv4i) has no result of resnet50\n"
            "compare: one (tpuv4i) has no result of vgg16",
        ),
        (
            [one, save(tmp_path, "three.json", changed)],
            (),
            "compare: resnet50 is another network in each file",
        ),
    ]
    for files, hardware, message in cases:
        with pytest.raises(OptionError) as caught:
            compare_saved(files, hardware)
        assert str(caught.value) == message
    with pytest.raises(InputError, match="a sweep: compare takes results of run and compare"):
        compare_saved([one, save(tmp_path, "sweep.json", make_sweep())])
    good = save(tmp_path, "good.json", run)
    with pytest.raises(OptionError) as caught:
        compare_saved([one, good], baseline="bad")
    assert str(caught.value) == "--baseline 'bad' is not among the files\n  expected one, good"
