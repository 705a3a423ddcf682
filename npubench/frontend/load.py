"""Reading: an ONNX file becomes a resolved `Graph`.

The steps: parse the file, settle the inputs' shapes, find out which inputs are weights, then one
forward pass over the nodes that folds constants, inlines functions and works out shapes, and a
last one that folds batch normalisations and leaves out what nothing uses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, ValueInfoProto, defs

from npubench.errors import ModelError, Problem, did_you_mean
from npubench.frontend.build import run_graph
from npubench.frontend.control import loop_name
from npubench.frontend.dims import Dims, resolve_inputs
from npubench.frontend.external import ExternalData
from npubench.frontend.files import load_model
from npubench.frontend.graph import Graph
from npubench.frontend.order import bodies
from npubench.frontend.proto import Fact, default_domain, element_format
from npubench.frontend.scope import Builder, Scope, Session
from npubench.frontend.text import check_names
from npubench.frontend.weights import find_weight_inputs

__all__ = ["OLDEST_OPSET", "read_graph", "read_graph_proto"]

OLDEST_OPSET = 7
_TRIPS_SUFFIX = ".trips"
_NO_DIMS: Mapping[str, int] = {}


def read_graph(
    path: Path,
    dims: Mapping[str, int] = _NO_DIMS,
    *,
    trip_counts: Mapping[str, int] = _NO_DIMS,
    weight_inputs: Collection[str] | None = None,
    shown: str | None = None,
) -> Graph:
    """Read an ONNX file.

    Args:
        path: the file. External data beside it is looked at for small tensors only.
        dims: values of symbolic dimensions, by symbol (``seq``), by place (``input_ids.1``) or,
            for loops of unknown length, by ``<loop>.trips``.
        trip_counts: trips of loops by name; the same as ``<loop>.trips`` in ``dims``.
        weight_inputs: graph inputs that are weights; None lets the file say, or the way in which
            they are used, which the graph's assumptions then state.
        shown: the file's name in messages; the path itself if None.

    Raises:
        ModelError: the file cannot be read as a network; every problem names the file.
    """
    try:
        model, sha256 = load_model(path)
        return read_graph_proto(
            model,
            dims,
            trip_counts=trip_counts,
            weight_inputs=weight_inputs,
            folder=path.parent,
            sha256=sha256,
            name=path.stem,
        )
    except ModelError as error:
        file = shown or str(path)
        raise ModelError(*(replace(p, file=p.file or file) for p in error.problems)) from error


def read_graph_proto(
    model: ModelProto,
    dims: Mapping[str, int] = _NO_DIMS,
    *,
    trip_counts: Mapping[str, int] = _NO_DIMS,
    weight_inputs: Collection[str] | None = None,
    folder: Path | None = None,
    sha256: str = "",
    name: str = "",
) -> Graph:
    """Read a model that is in memory; see `read_graph`.

    Args:
        model: left unchanged.
        dims: as for `read_graph`.
        trip_counts: as for `read_graph`.
        weight_inputs: as for `read_graph`.
        folder: where external data lies; None if there is none.
        sha256: of the file.
        name: of the graph, where the model has none.
    """
    check_names(model)
    opsets = _check_versions(model)
    graph = model.graph
    if not graph.output:
        raise ModelError(Problem("the graph has no outputs"))
    loops = _loop_names(model)
    trips = _trip_counts(dims, trip_counts, loops)
    symbols = Dims({k: v for k, v in dims.items() if k not in _keys(loops)})
    inputs = _fed_inputs(graph)
    held = find_weight_inputs(model, inputs, weight_inputs)
    session = Session(
        functions={(default_domain(f.domain), f.name, f.overload): f for f in model.functions},
        opsets=opsets,
        external=ExternalData(folder),
        dims=symbols,
        trips=trips,
        constants_count=not held.stated,
    )
    shapes, assumptions = resolve_inputs(inputs, symbols, _keys(loops))
    for text in (*assumptions, *held.assumptions):
        session.assume(text)
    session.taken.update(_names(graph))
    builder = Builder(session)
    scope = Scope(session, builder, opsets=opsets)
    fed = []
    for info in inputs:
        elem = info.type.tensor_type.elem_type
        storage = element_format(elem, f"input '{info.name}'")
        weight = info.name in held.names
        origin = info.name if weight else ""
        fact = Fact(info.name, shapes[info.name], elem, storage, weight, None, origin)
        scope.define(info.name, fact)
        if not weight:
            fed.append(fact)
    outputs = run_graph(graph, scope)
    built = builder.finish(graph.name or name, fed, outputs)
    return replace(built, sha256=sha256, assumptions=tuple(session.assumptions))


def _check_versions(model: ModelProto) -> dict[str, int]:
    """Opset versions by domain.

    Raises:
        ModelError: an IR or opset version that npubench does not read.
    """
    if not 1 <= model.ir_version <= onnx.IR_VERSION:
        raise ModelError(
            Problem(
                f"unknown ONNX IR version {model.ir_version}: the installed onnx reads 1 to "
                f"{onnx.IR_VERSION}",
                hint="a newer onnx package may read it"
                if model.ir_version > onnx.IR_VERSION
                else None,
            )
        )
    opsets: dict[str, int] = {}
    for imported in model.opset_import:
        opsets[default_domain(imported.domain)] = imported.version
    version = opsets.get("")
    if version is None:
        if any(not default_domain(node.domain) for node in model.graph.node):
            raise ModelError(Problem("the model does not say which ONNX opset it uses"))
        return opsets
    newest = defs.onnx_opset_version()
    if version < OLDEST_OPSET:
        raise ModelError(
            Problem(
                f"the model uses ONNX opset {version}; npubench reads {OLDEST_OPSET} to {newest}",
                hint="convert it with onnx.version_converter",
            )
        )
    if version > newest:
        raise ModelError(
            Problem(
                f"the model uses ONNX opset {version}; the installed onnx knows {OLDEST_OPSET} to "
                f"{newest}",
                hint="a newer onnx package may read it",
            )
        )
    return opsets


def _fed_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Graph inputs that have no initialiser: old files list their weights as inputs too."""
    held = {tensor.name for tensor in graph.initializer}
    held.update(sparse.values.name for sparse in graph.sparse_initializer)
    inputs = [info for info in graph.input if info.name not in held]
    seen: set[str] = set()
    for info in inputs:
        if info.name in seen:
            raise ModelError(Problem(f"input '{info.name}' is listed twice"))
        seen.add(info.name)
    return inputs


def _names(graph: GraphProto) -> Iterable[str]:
    for info in graph.input:
        yield info.name
    for tensor in graph.initializer:
        yield tensor.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    for node in graph.node:
        yield from node.output


def _loop_names(model: ModelProto) -> list[str]:
    """Names of all loops, those in bodies and functions among them."""
    names: dict[str, None] = {}
    pending = [model.graph.node, *(f.node for f in model.functions)]
    while pending:
        for node in pending.pop():
            if node.op_type == "Loop":
                names[loop_name(node)] = None
            if node.attribute:
                pending.extend(body.node for body in bodies(node))
    return list(names)


def _keys(loops: Iterable[str]) -> list[str]:
    return [name + _TRIPS_SUFFIX for name in loops]


def _trip_counts(
    dims: Mapping[str, int], trip_counts: Mapping[str, int], loops: list[str]
) -> dict[str, int]:
    for name in trip_counts:
        if name not in loops:
            hint = did_you_mean(name, loops) or "the model has no loops"
            raise ModelError(Problem(f"no loop is named '{name}'", hint=hint))
    trips = dict(trip_counts)
    for name in loops:
        if name + _TRIPS_SUFFIX in dims:
            trips[name] = dims[name + _TRIPS_SUFFIX]
    for name, count in trips.items():
        if count < 0:
            raise ModelError(Problem(f"loop '{name}' cannot run {count} times"))
    return trips
