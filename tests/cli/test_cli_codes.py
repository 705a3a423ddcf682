"""Exit codes, with study.run replaced where a failure must be made.

What `main` exits with is the process's code: each code once in a process of its own.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import npubench.study.run as study
from npubench.errors import NpubenchError, Problem, SpecError
from tests.cli.cli_process import ROOT, command, environment, npubench
from tests.cli.in_process import Done, quick
from tests.report.report_records import PARTIAL, make_run

DRIVER = """
import sys
sys.path.insert(0, {root!r})
import npubench.study.run as study
from npubench.cli.app import main

def fake(request, session=None, on_sample=None):
{body}

study.run = fake
main(sys.argv[1:])
"""


def with_fake_run(body: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return subprocess.run(
        [sys.executable, "-c", DRIVER.format(root=str(ROOT), body=indented), *arguments],
        env=environment(**changes),
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def with_fake_run_here(
    monkeypatch: pytest.MonkeyPatch, fake: Callable[[], object], *arguments: str, **changes: str
) -> Done:
    """As `with_fake_run`, without the process."""
    monkeypatch.setattr(study, "run", lambda *_, **_named: fake())
    return quick(*arguments, **changes)


def fails(error: Exception) -> Callable[[], object]:
    def fake() -> object:
        raise error

    return fake


RESULT = "from tests.report.report_records import make_run\nreturn make_run()"
USER_ERROR = (
    "from npubench.errors import Problem, SpecError\n"
    "raise SpecError(\n"
    "    Problem(\"unknown key 'memroy'\", 'a.yaml', 12, 3, \"did you mean 'memory'?\"),\n"
    "    Problem('bad \\x1b[31m name'),\n"
    ")"
)
RUN = ("run", "resnet50", "--hw", "tpuv4i")


def test_an_answer_is_zero_and_stderr_stays_empty() -> None:
    done = with_fake_run(RESULT, *RUN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("resnet50 on tpuv4i (array, 7 nm): w8a8, batch 1, 4.09 GMAC\n")


def test_a_failed_gate_is_one_and_the_result_is_printed() -> None:
    done = with_fake_run(RESULT, *RUN, "--fail-if", "latency > 0.5 ms", "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["schema"] == "npubench.run/1"
    assert done.stderr == (
        "gate failed: resnet50 on tpuv4i: latency_s is 0.001 s, which fails 'latency > 0.5 ms'\n"
    )


def test_a_gate_that_holds_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    done = with_fake_run_here(monkeypatch, make_run, *RUN, "--fail-if", "latency > 2 ms")
    assert done.code == 0


def test_unknown_operators_warn_unless_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def partial() -> object:
        return replace(make_run(), coverage=PARTIAL)

    done = with_fake_run_here(monkeypatch, partial, *RUN)
    assert (done.code, done.stderr) == (
        0,
        "warning: resnet50 on tpuv4i: 1 layer of unknown operators (com.acme.Foo) with 0.0% of "
        "the bytes; see the ledger, or gate with --max-unknown\n",
    )
    assert with_fake_run_here(monkeypatch, partial, *RUN, "--quiet").stderr == ""
    strict = with_fake_run_here(monkeypatch, partial, *RUN, "-q", "--strict")
    assert (strict.code, strict.stderr) == (
        1,
        "gate failed: resnet50 on tpuv4i: --strict: unknown operators: com.acme.Foo\n"
        "gate failed: resnet50 on tpuv4i: --strict: approximated operators: Erf\n",
    )


def test_a_users_mistake_is_two_with_every_problem() -> None:
    done = with_fake_run(USER_ERROR, *RUN)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "a.yaml:12:3: unknown key 'memroy'\n  did you mean 'memory'?\nbad \\x1b[31m name\n"
    )


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [(("--format", "json"), {}), (("--format=json",), {}), ((), {"NPUBENCH_FORMAT": "json"})],
)
def test_a_failure_in_json_is_one_object(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], changes: dict[str, str]
) -> None:
    error = SpecError(
        Problem("unknown key 'memroy'", "a.yaml", 12, 3, "did you mean 'memory'?"),
        Problem("bad \x1b[31m name"),
    )
    done = with_fake_run_here(monkeypatch, fails(error), *RUN, *arguments, **changes)
    assert done.code == 2
    assert json.loads(done.stdout) == {
        "schema": "npubench.error/1",
        "errors": [
            {
                "file": "a.yaml",
                "line": 12,
                "column": 3,
                "message": "unknown key 'memroy'",
                "hint": "did you mean 'memory'?",
            },
            {
                "file": None,
                "line": None,
                "column": None,
                "message": "bad \x1b[31m name",
                "hint": None,
            },
        ],
        "exit_code": 2,
    }
    assert done.stderr.startswith("a.yaml:12:3: unknown key 'memroy'\n")


def test_a_bug_is_three_without_traceback_or_locals() -> None:
    body = "secret = 'do not print'\nraise KeyError('conv1')"
    done = with_fake_run(body, *RUN)
    assert (done.returncode, done.stdout) == (3, "")
    line, hint = done.stderr.splitlines()
    assert line.startswith(
        "this is a bug in npubench: KeyError: 'conv1' (npubench/cli/commands.py:"
    )
    assert line.endswith(" in run)")
    assert hint == "  set NPUBENCH_DEBUG=1 for the traceback, and please report it"


def test_a_bug_has_a_traceback_without_locals_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake() -> object:
        secret = "do not " + "print"
        raise KeyError("conv1" if secret else "")

    for arguments, changes in (((), {"NPUBENCH_DEBUG": "1"}), (("-v",), {})):
        loud = with_fake_run_here(monkeypatch, fake, *RUN, *arguments, **changes)
        assert loud.code == 3
        assert loud.stderr.startswith("Traceback (most recent call last):\n")
        assert "do not print" not in loud.stderr


def test_our_own_broken_promise_is_three(monkeypatch: pytest.MonkeyPatch) -> None:
    done = with_fake_run_here(monkeypatch, fails(NpubenchError("no cost")), *RUN)
    assert done.code == 3
    assert done.stderr.startswith("this is a bug in npubench: no cost (npubench/cli/commands.py:")


@pytest.mark.parametrize(
    ("exception", "message"),
    [
        (RecursionError, "the input is nested too deeply to be read\n"),
        (MemoryError, "the input is too large for this machine's memory\n"),
        (OverflowError, "a number in the input is too large to count with\n"),
    ],
)
def test_an_input_beyond_all_bounds_is_two(
    monkeypatch: pytest.MonkeyPatch, exception: type[Exception], message: str
) -> None:
    done = with_fake_run_here(monkeypatch, fails(exception()), *RUN)
    assert (done.code, done.stderr) == (2, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rum",), "No such command 'rum'. Did you mean 'run'?\n  try 'npubench --help'\n"),
        (
            ("run", "x", "--hw", "y", "--dim", "n=0", "--dim", "n", "--format", "table"),
            "--dim 'n': expected NAME=VALUE\n",
        ),
        (
            ("run", "x", "--hw", "y", "--dim", "n=-3", "--dim", "m=1.5"),
            "--dim 'n=-3': expected a whole number from 1\n"
            "--dim 'm=1.5': expected a whole number from 1\n",
        ),
        (
            ("run", "x", "--hw", "y", "--knob", "vdd=1", "--knob", "vdd=2"),
            "--knob 'vdd=2': 'vdd' is given twice\n",
        ),
        (("show", "x", "--hw", "--workload"), "show: give --hw or --workload, not both\n"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_two(
    arguments: tuple[str, ...], message: str
) -> None:
    done = quick(*arguments)
    assert (done.code, done.stdout, done.stderr) == (2, "", message)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("run", "x", "--hw", "y", "--lyers"), ("--lyers", "--layers")),
        (("run", "x"), ("--hw",)),
        (("run", "x", "--hw", "y", "--batch", "two"), ("--batch",)),
        (("run", "x", "--hw", "y", "--format", "jsn"), ("--format", "jsn", "markdown")),
    ],
)
def test_typer_says_which_option_is_wrong(
    arguments: tuple[str, ...], names: tuple[str, ...]
) -> None:
    # The wording is typer's own and may change; that the option is named may not.
    done = quick(*arguments)
    assert (done.code, done.stdout) == (2, "")
    message, hint = done.stderr.splitlines()
    assert all(name in message for name in names)
    assert hint == "  try 'npubench run --help'"


def test_nothing_at_all_is_answered_with_help() -> None:
    done = npubench()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: npubench [OPTIONS] COMMAND [ARGS]...\n")


def test_ctrl_c_is_130_in_one_word() -> None:
    done = with_fake_run("raise KeyboardInterrupt", *RUN)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_signal_keeps_the_finished_points(tmp_path: Path) -> None:
    body = (
        "import time, pathlib\n"
        "from tests.report.report_records import make_run\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "if request.batch > 1:\n"
        "    (folder / 'second').touch()\n"
        "    while not (folder / 'signalled').exists():\n"
        "        time.sleep(0.02)\n"
        "return make_run()"
    )
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    driver = DRIVER.format(root=str(ROOT), body=indented).replace(
        "study.run = fake",
        "study.run = fake\n"
        "import npubench.study.sweep as sweeps\n"
        "sweeps.run = fake\n"
        "sweeps.plan_sweep = lambda request, axes, session, shape: sweeps.SweepPlan("
        "request, tuple(axes), frozenset())\n"
        "sweeps.run_at_supply = lambda request, session: None",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", driver, "sweep", "m", "--hw", "h", "--axis", "batch=1,2,4"],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    deadline = time.monotonic() + 50
    while not (tmp_path / "second").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    (tmp_path / "signalled").touch()
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout.startswith("sweep: resnet50 on tpuv4i: 2 points\n")
    left = "interrupted: 2 of 3 points are finished; --store FILE would keep them\n"
    assert stderr == left


def pipeline(first: list[str], code: str) -> tuple[int, str]:
    """Run ``first`` into a reader that does ``code``; the first's exit code and stderr."""
    writer = subprocess.Popen(
        first, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    subprocess.run([sys.executable, "-c", code], stdin=writer.stdout, check=True, timeout=60)
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    stderr = writer.stderr.read().decode()
    writer.stderr.close()
    return writer.wait(timeout=60), stderr


@pytest.mark.parametrize(
    "arguments", [("--help",), ("run", "--help"), ("list", "workloads"), ("version",)]
)
@pytest.mark.parametrize("reader", ["pass", "input()"])
def test_a_reader_that_leaves_early_is_no_failure(arguments: tuple[str, ...], reader: str) -> None:
    assert pipeline(command(*arguments), reader) == (0, "")


def under_shell(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run bash with npubench's command line as its ``"$@"``."""
    return subprocess.run(
        ["bash", "-c", script, "bash", *command(*arguments)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("closed", "code"), [("1", 0), ("2", 0), ("1", 2), ("2", 2)])
def test_a_closed_stream_changes_nothing_else(closed: str, code: int) -> None:
    arguments = ("version",) if code == 0 else ("rum",)
    shell = f'"$@" {closed}>&-'
    done = under_shell(shell, *arguments)
    assert done.returncode == code
    assert ("npubench 0." in done.stdout) == (code == 0 and closed == "2")
    assert ("No such command" in done.stderr) == (code == 2 and closed == "1")


def test_a_reader_of_both_streams_that_leaves_does_not_hide_the_code() -> None:
    shell = '"$@" 2>&1 >/dev/null | true; exit "${PIPESTATUS[0]}"'
    done = under_shell(shell, "rum")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_full_disk_behind_stdout_is_two() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with full.open("w") as target:
        done = subprocess.run(
            command("version"),
            env=environment(),
            cwd=ROOT,
            stdout=target,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        2,
        "cannot write to stdout: No space left on device\n",
    )
