"""ONNX to `Network`: the door between model files and everything else.

Importing this package loads neither onnx nor numpy; `load_network` does when it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType

from npubench.ir import Network, PrecisionPlan

__all__ = ["LoadedNetwork", "load_network"]


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network, and the precision plan its file states by quantisation annotations.

    Attributes:
        network: the lowered and verified network.
        plan: None when the file states no precision.
    """

    network: Network
    plan: PrecisionPlan | None


def load_network(
    path: str | PathLike[str],
    dims: Mapping[str, int] = MappingProxyType({}),
    name: str | None = None,
    shown: str | None = None,
) -> LoadedNetwork:
    """Read an ONNX file and lower it.

    Args:
        path: the model; external data is looked for beside it.
        dims: values of symbolic dimensions by name.
        name: the network's name in tables; the file's stem if None.
        shown: the file's name in messages; the path itself if None.

    Raises:
        ModelError: the file cannot be read, a shape stays unknown, or the graph contradicts itself.
    """
    # Inside the function: onnx and numpy take longer to import than `--help` may take to print.
    from npubench.frontend.load import read_graph
    from npubench.frontend.lower import lower_graph

    loaded = lower_graph(read_graph(Path(path), dims, shown=shown))
    return replace(loaded, network=replace(loaded.network, name=name or Path(path).stem))
