"""`--help` is quick because it loads nothing heavy; a stopwatch on a busy machine cannot say so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.cli_process import ROOT, environment
from tests.cli.in_process import quick

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
for arguments in {lines!r}:
    try:
        main(arguments)
    except SystemExit as exit:
        code = exit.code
    loaded = [name for name in {heavy!r} if name in sys.modules]
    print(*arguments, loaded, code, file=sys.stderr)
"""


def test_help_loads_nothing_heavy() -> None:
    """One process for all: what one command's help loads is there for the next ones too."""
    lines = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(lines=lines, heavy=HEAVY)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.splitlines() == [f"{' '.join(line)} [] 0" for line in lines]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str) -> None:
    done = quick(name, "--help")
    assert done.code == 0
    assert done.stdout.startswith(f"Usage: npubench {name} ")
    assert f"Examples:\n    npubench {name} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_every_command_has_a_whole_line_in_the_overview() -> None:
    lines = quick("--help").stdout.partition("Commands:\n")[2].splitlines()[: len(COMMANDS)]
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)
