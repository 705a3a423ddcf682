"""Small models written as text, for the tests of reading."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx
import pytest

from npubench.errors import ModelError
from npubench.frontend.graph import Graph
from npubench.frontend.load import read_graph_proto


def model(body: str, opset: int = 17, domains: Mapping[str, int] | None = None) -> onnx.ModelProto:
    """A model of one graph; `body` is what follows the header of onnx's textual form.

    Tensors that are declared and not made, ``<float[8, 4] w>``, become weights without values.
    """
    imports = {"": opset, **(domains or {})}
    listed = ", ".join(f'"{domain}": {version}' for domain, version in imports.items())
    proto = onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{listed}]>\n{body}")
    graph = proto.graph
    made = {name for node in graph.node for name in node.output}
    for info in graph.value_info:
        if info.name not in made:
            kind = info.type.tensor_type
            dims = [dim.dim_value for dim in kind.shape.dim]
            graph.initializer.add(name=info.name, data_type=kind.elem_type, dims=dims)
    return proto


def read(
    source: onnx.ModelProto | str,
    dims: Mapping[str, int] | None = None,
    *,
    trips: Mapping[str, int] | None = None,
    weight_inputs: Collection[str] | None = None,
    opset: int = 17,
    domains: Mapping[str, int] | None = None,
) -> Graph:
    """The resolved graph of a model or its text."""
    proto = model(source, opset, domains) if isinstance(source, str) else source
    return read_graph_proto(proto, dims or {}, trip_counts=trips or {}, weight_inputs=weight_inputs)


def refusal(source: onnx.ModelProto | str, dims: Mapping[str, int] | None = None, **more) -> str:
    """The whole message with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        read(source, dims, **more)
    return str(caught.value)


def shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs by name."""
    return {name: graph.values[name].shape for name in graph.outputs}
