"""`--help` is quick because it loads nothing heavy; a stopwatch on a busy machine cannot say so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.cli_process import ROOT, environment, npubench

HEAVY = ("onnx", "onnxruntime", "numpy", "yaml")
COMMANDS = (
    "run",
    "compare",
    "sweep",
    "results",
    "pareto",
    "serve",
    "study",
    "plot",
    "report",
    "list",
    "show",
    "check",
    "version",
)
PROBE = """
import sys
from npubench.cli.app import main
try:
    main({arguments!r})
except SystemExit as exit:
    code = exit.code
print([name for name in {heavy!r} if name in sys.modules], code, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments, heavy=HEAVY)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == "[] 0\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str) -> None:
    done = npubench(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: npubench {name} ")
    assert f"Examples:\n    npubench {name} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_every_command_has_a_whole_line_in_the_overview() -> None:
    lines = npubench("--help").stdout.partition("Commands:\n")[2].splitlines()[: len(COMMANDS)]
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)
