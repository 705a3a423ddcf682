"""Results that were written to files, read back for comparing, plotting and reporting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from npubench.errors import InputError, OptionError, Problem
from npubench.study.compare import compare_runs
from npubench.study.result import Comparison, RunResult, Sweep
from npubench.study.serialise import loads

__all__ = ["compare_saved", "is_saved", "load_result"]

SAVED_SUFFIX = ".json"


def is_saved(text: str) -> bool:
    """Whether a name on the command line is that of a result file."""
    return text.lower().endswith(SAVED_SUFFIX)


def load_result(path: str | Path) -> RunResult | Comparison | Sweep:
    """The result in a file that ``-o FILE.json`` or ``--format json`` wrote.

    Raises:
        InputError: no such file, or not a result; it names the file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", file=str(path))) from None
    except UnicodeDecodeError:
        raise InputError(Problem("not a text file", file=str(path))) from None
    try:
        return loads(text)
    except InputError as error:
        raise InputError(
            *(replace(problem, file=str(path)) for problem in error.problems)
        ) from None


def compare_saved(
    files: Sequence[str], hardware: Sequence[str] = (), baseline: str | None = None
) -> Comparison:
    """Saved runs and comparisons side by side, file by file; ratios are to the first file.

    A file takes the place of an accelerator: the same network on the same accelerator, before and
    after, is one row each. Where a file holds several accelerators, they are told apart in the
    workload's name.

    Args:
        files: at least two.
        hardware: must be empty: files say where they ran.
        baseline: the file that ratios refer to, by its path or stem; by default the first.

    Raises:
        OptionError: fewer than two files, one given twice, no such baseline, or files that do not
            hold the same pairs of network and accelerator.
        InputError: a file that cannot be read, or that holds no runs.
    """
    strangers = [file for file in files if not is_saved(file)]
    if strangers or hardware:
        what = f"'{strangers[0]}'" if strangers else "--hw (or NPUBENCH_HW)"
        raise OptionError(f"compare: result files (.json) do not go together with {what}")
    if len(files) < 2:
        raise OptionError("compare: needs at least two result files")
    if len(set(files)) < len(files):
        raise OptionError("compare: a result file is given twice")
    names = _names(files)
    held = [_runs(file) for file in files]
    several = len({run.hardware.name for runs in held for run in runs}) > 1 and any(
        len({run.hardware.name for run in runs}) > 1 for runs in held
    )
    runs: list[RunResult] = []
    for name, of_file in zip(names, held, strict=True):
        for run in of_file:
            subject = f"{run.workload.name} on {run.hardware.name}" if several else ""
            label = name if several else f"{name} ({run.hardware.name})"
            runs.append(
                replace(
                    run,
                    workload=replace(run.workload, name=subject or run.workload.name),
                    hardware=replace(run.hardware, name=label),
                )
            )
    labels = tuple(dict.fromkeys(run.hardware.name for run in runs))
    _check_pairs(runs, labels)
    base = labels[0] if baseline is None else _find(baseline, files, names, labels)
    order = {run.workload.name: i for i, run in reversed(list(enumerate(runs)))}
    runs.sort(key=lambda run: (order[run.workload.name], labels.index(run.hardware.name)))
    return compare_runs(runs, labels, base)


def _names(files: Sequence[str]) -> tuple[str, ...]:
    """A file's stem, or its path where two files share the stem."""
    stems = [Path(file).stem for file in files]
    return tuple(
        stem if stems.count(stem) == 1 else file for stem, file in zip(stems, files, strict=True)
    )


def _runs(file: str) -> tuple[RunResult, ...]:
    result = load_result(file)
    if isinstance(result, RunResult):
        return (result,)
    if isinstance(result, Comparison):
        return result.runs
    raise InputError(
        Problem(
            "a sweep: compare takes results of run and compare",
            file=file,
            hint="npubench report takes any result",
        )
    )


def _check_pairs(runs: Sequence[RunResult], labels: Sequence[str]) -> None:
    """Every file has every network, once; networks that differ under one name are told."""
    problems: list[Problem] = []
    networks = dict.fromkeys(run.workload.name for run in runs)
    held = {(run.workload.name, run.hardware.name): run for run in runs}
    if len(held) < len(runs):
        problems.append(Problem("compare: a file holds a network on an accelerator twice"))
    for network in networks:
        for label in labels:
            if (network, label) not in held:
                problems.append(Problem(f"compare: {label} has no result of {network}"))
        hashes = {held[network, name].workload.sha256 for name in labels if (network, name) in held}
        if len(hashes) > 1:
            problems.append(Problem(f"compare: {network} is another network in each file"))
    if problems:
        raise OptionError(*problems)


def _find(baseline: str, files: Sequence[str], names: Sequence[str], labels: Sequence[str]) -> str:
    for name, file, label in zip(names, files, labels, strict=True):
        if baseline in (name, file, label):
            return label
    raise OptionError(
        Problem(
            f"--baseline '{baseline}' is not among the files", hint=f"expected {', '.join(names)}"
        )
    )
