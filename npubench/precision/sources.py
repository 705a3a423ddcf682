"""What ``--precision`` may say, and the plan it stands for."""

from __future__ import annotations

from pathlib import Path

from npubench.errors import OptionError
from npubench.ir import Network, PrecisionPlan, parse_precision
from npubench.precision.plan_file import read_plan
from npubench.precision.published import find_published, published_plans
from npubench.specs.loader import YAML_SUFFIXES

__all__ = ["MODEL_PRECISION", "check_precision", "find_plan"]

MODEL_PRECISION = "model"


def find_plan(text: str, network: Network, own: PrecisionPlan | None) -> PrecisionPlan:
    """The plan that a text stands for.

    Args:
        text: ``w8a8``, a format such as ``bf16``, ``model``, a published setting such as
            ``hawq_latency_0.5``, or the path of a YAML file.
        network: what it is for; unbatched.
        own: what the network's own file states, if anything.

    Raises:
        InputError: none of these, or one that does not fit the network.
    """
    if text == MODEL_PRECISION:
        if own is None:
            raise OptionError(
                f"--precision {MODEL_PRECISION}: the model '{network.name}' states no precision"
            )
        return own
    if _is_file(text):
        return read_plan(Path(text), network)
    return find_published(text, network) or PrecisionPlan(parse_precision(text))


def check_precision(text: str) -> None:
    """Refuse a text that stands for no plan of any network.

    Files are not opened here, and published settings only looked for by their prefix.

    Raises:
        OptionError: not a precision.
    """
    prefixes = tuple(f"{file.prefix}_" for file in published_plans())
    folded = text.strip().lower().replace("-", "_")
    if text == MODEL_PRECISION or _is_file(text) or folded.startswith(prefixes):
        return
    parse_precision(text)


def _is_file(text: str) -> bool:
    return text.lower().endswith(YAML_SUFFIXES)
