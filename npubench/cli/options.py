"""Options that several commands share, and the reading of their values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from npubench.cli.output import Form, Output
from npubench.errors import OptionError, Problem

__all__ = [
    "Batch",
    "Calibration",
    "Dataset",
    "Dims",
    "FailIf",
    "Faults",
    "Files",
    "Force",
    "FormOption",
    "HardwareName",
    "Knobs",
    "Layers",
    "MaxUnknown",
    "ObjectiveName",
    "Precision",
    "PrecisionSchedule",
    "Quiet",
    "Samples",
    "Seed",
    "Settings",
    "Strict",
    "Verbose",
    "WorkloadName",
    "listed",
    "make_output",
    "read_dims",
    "read_network_dims",
    "read_pairs",
]


def listed(name: str) -> Callable[[list[str] | None], list[str]]:
    """A callback that takes a repeatable option's values from a variable when it is not given.

    Values are separated by ``;``, since they may hold blanks and commas of their own.
    """

    def take(given: list[str] | None) -> list[str]:
        if given:
            return list(given)
        return [part.strip() for part in os.environ.get(name, "").split(";") if part.strip()]

    return take


def _many(variable: str) -> str:
    return f" Repeatable. [env var: {variable}, separated by ;]"


_ANSWER = "Answer"
_GATES = "Gates"

HardwareName = Annotated[
    str,
    typer.Option(
        "--hw",
        envvar="NPUBENCH_HW",
        metavar="HW",
        help="Accelerator: a name of 'npubench list hw', or a YAML file; "
        "knobs may follow, as in tpuv4i:clock=0.7GHz.",
    ),
]
WorkloadName = Annotated[
    str,
    typer.Argument(
        metavar="WORKLOAD", help="A name of 'npubench list workloads', or an ONNX file."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        envvar="NPUBENCH_PRECISION",
        metavar="P",
        help="w8a8, a format such as bf16, a published setting such as hawq_latency_0.5, a plan "
        "file (.yaml), or 'model' for what the file states. "
        "Default: the model's own, else the accelerator's.",
    ),
]
PrecisionSchedule = Annotated[
    str | None,
    typer.Option(
        "--precision-schedule",
        envvar="NPUBENCH_PRECISION_SCHEDULE",
        metavar="P,P,...",
        help="Run one inference after another, each at a precision of its own, and show what the "
        "changes in between take.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        envvar="NPUBENCH_DATASET",
        metavar="D",
        help="Measure the accuracy of what is executed: 'digits', an .npz file, idx or CIFAR "
        "files, a folder of images, tokens, or a recipe (.yaml).",
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        envvar="NPUBENCH_CALIBRATION",
        metavar="C",
        help="Ranges of activations: minmax, percentile[:P], entropy or mse (the default); "
        "',mse-weights' and ',bias-correction' may follow.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        envvar="NPUBENCH_SAMPLES",
        metavar="N",
        help="Measure on N samples drawn by the seed. Default: all.",
    ),
]
Faults = Annotated[
    str | None,
    typer.Option(
        "--faults",
        envvar="NPUBENCH_FAULTS",
        metavar="RATE|VOLTS|vdd",
        help="While measuring, flip stored bits of weights and activations: with this "
        "probability, at the rate of a 28 nm SRAM at this supply (0.57V), or at the knob vdd.",
    ),
]
Batch = Annotated[
    int,
    typer.Option("--batch", envvar="NPUBENCH_BATCH", metavar="N", help="Inferences per execution."),
]
ObjectiveName = Annotated[
    str,
    typer.Option(
        "--objective",
        envvar="NPUBENCH_OBJECTIVE",
        metavar="latency|energy|edp",
        help="What the mapping of every layer is searched for; the other figure decides ties.",
    ),
]
Dims = Annotated[
    list[str] | None,
    typer.Option(
        "--dim",
        metavar="NAME=N",
        callback=listed("NPUBENCH_DIM"),
        help="Value of a symbolic dimension." + _many("NPUBENCH_DIM"),
    ),
]
Knobs = Annotated[
    list[str] | None,
    typer.Option(
        "--knob",
        metavar="NAME=VALUE",
        callback=listed("NPUBENCH_KNOB"),
        help="A knob of the accelerator." + _many("NPUBENCH_KNOB"),
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        callback=listed("NPUBENCH_SET"),
        help="Any other field of its spec." + _many("NPUBENCH_SET"),
    ),
]
Layers = Annotated[
    bool, typer.Option("--layers", envvar="NPUBENCH_LAYERS", help="Show every layer.")
]
FormOption = Annotated[
    Form,
    typer.Option(
        "--format",
        envvar="NPUBENCH_FORMAT",
        case_sensitive=False,
        help="Form of the answer on stdout.",
    ),
]
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        callback=listed("NPUBENCH_OUTPUT"),
        help="Write the answer to a .json, .csv, .md or .txt file too." + _many("NPUBENCH_OUTPUT"),
    ),
]
Force = Annotated[
    bool, typer.Option("--force", envvar="NPUBENCH_FORCE", help="Replace existing files.")
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", envvar="NPUBENCH_SEED", metavar="N", help="Of whatever is drawn; stamped."
    ),
]
MaxUnknown = Annotated[
    float | None,
    typer.Option(
        "--max-unknown",
        envvar="NPUBENCH_MAX_UNKNOWN",
        metavar="SHARE",
        help="Exit 1 if unknown operators carry more than this share, 0 to 1.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        envvar="NPUBENCH_STRICT",
        help="Exit 1 if any operator is unknown or approximated.",
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="EXPR",
        callback=listed("NPUBENCH_FAIL_IF"),
        help="Exit 1 if this holds, such as 'latency > 5 ms'." + _many("NPUBENCH_FAIL_IF"),
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", envvar="NPUBENCH_QUIET", help="No warnings, no progress on stderr."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        envvar="NPUBENCH_VERBOSE",
        help="Every constant used; tracebacks of bugs.",
    ),
]


def make_output(form: Form, files: Iterable[str] | None, *, force: bool, quiet: bool) -> Output:
    """Where the answer goes, checked; raises OptionError."""
    return Output(form, tuple(map(Path, files or ())), force, quiet).check()


def read_pairs(option: str, texts: Iterable[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` texts in order.

    Raises:
        OptionError: one without ``=`` or name, or a name given twice; all at once.
    """
    pairs: dict[str, str] = {}
    problems: list[Problem] = []
    for text in texts or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            problems.append(Problem(f"{option} '{text}': expected NAME=VALUE"))
        elif name in pairs:
            problems.append(Problem(f"{option} '{text}': '{name}' is given twice"))
        pairs[name] = value
    if problems:
        raise OptionError(*problems)
    return pairs


def read_dims(texts: Iterable[str] | None, owner: str = "") -> dict[str, int]:
    """``NAME=N`` texts; raises OptionError where N is no whole number from 1.

    Args:
        owner: what stands before each of them, for messages.
    """
    pairs = read_pairs("--dim", texts)
    problems = [
        Problem(f"--dim '{owner}{name}={value}': expected a whole number from 1")
        for name, value in pairs.items()
        if not (value.isascii() and value.isdecimal() and len(value) < 19 and int(value) >= 1)
    ]
    if problems:
        raise OptionError(*problems)
    return {name: int(value) for name, value in pairs.items()}


def read_network_dims(texts: Iterable[str] | None) -> dict[str, dict[str, int]]:
    """``[NETWORK=]NAME=N`` texts: dimensions by network, those of all networks under ``""``.

    Raises:
        OptionError: as `read_pairs` and `read_dims`; all at once.
    """
    by_network: dict[str, list[str]] = {}
    for text in texts or ():
        network, _, rest = text.partition("=")
        own = "=" in rest
        by_network.setdefault(network.strip() if own else "", []).append(rest if own else text)
    found: dict[str, dict[str, int]] = {}
    problems: list[Problem] = []
    for network, own_texts in by_network.items():
        try:
            found[network] = read_dims(own_texts, f"{network}=" if network else "")
        except OptionError as error:
            problems += error.problems
    if problems:
        raise OptionError(*problems)
    return found
