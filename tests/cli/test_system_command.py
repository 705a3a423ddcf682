"""`npubench system design` on the command line."""

from __future__ import annotations

import json

import pytest

from tests.cli.in_process import in_process
from tests.study.schema_check import validate

QUICK = ("system", "design", "digits_cnn", "--area", "6.2mm2", "--widths", "8,7")


def test_the_answer_as_json_is_the_same_twice() -> None:
    arguments = (*QUICK, "--requests", "200", "--format", "json", "--quiet")
    first, second = in_process(arguments), in_process(arguments)
    assert first.code == 0
    assert first.stdout == second.stdout
    document = json.loads(first.stdout)
    assert document["schema"] == "npubench.system_design/1"
    validate(document)
    assert [mix["widths"] for mix in document["mixes"]] == [[8, 8], [8, 7], [7, 7]]
    assert document["baseline"] == "2 x 8"
    assert [npu["rows"] for npu in document["npus"]] == [64, 72]


def test_every_mix_is_a_line_of_csv() -> None:
    done = in_process((*QUICK, "--requests", "200", "--format", "csv", "--quiet"))
    header, *lines = done.stdout.splitlines()
    assert header.split(",")[:3] == ["mix", "on_front", "energy_j"]
    assert [line.split(",")[0] for line in lines] == ["2 x 8", "1 x 8 + 1 x 7", "2 x 7"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--area", "6.2", "--widths", "8"), "--area: "),
        (("--area", "6.2mm2", "--widths", "8,x"), "--widths: expected whole numbers such as 4,8"),
        (("--area", "6.2mm2", "--dram", "0 GB/s"), "--dram: expected a rate above 0"),
        (("--area", "6.2mm2", "--dram", "fast"), "--dram: "),
        (("--area", "0 mm2"), "--area: expected an area above 0, got 0 mm2"),
    ],
)
def test_mistakes_are_told_with_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    done = in_process(("system", "design", "digits_cnn", *arguments, "--quiet"))
    assert done.code == 2
    assert done.stderr.startswith(message)
    assert done.stdout == ""
