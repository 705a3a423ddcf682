"""A trained ONNX model made ready for quantisation: layers found, weights at hand.

Weights that the file computes from constants are computed, batch normalisations are folded into
the layer before them as every integer machine does, QONNX's quantisers become ordinary operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from npubench.accuracy.attention import expand_attention
from npubench.accuracy.qonnx import expand_quantisers
from npubench.accuracy.recurrent import attribute, expand_recurrent
from npubench.accuracy.runtime import Network as Runtime
from npubench.accuracy.sites import Site, check_operators, find_sites
from npubench.errors import ModelError, Problem
from npubench.frontend import LoadedNetwork
from npubench.frontend.files import load_model
from npubench.ir import Network

__all__ = ["TrainedModel", "open_model"]

# Clip with bounds as inputs needs 11, BitwiseXor of bit errors 18, casts to float8 19; the newest
# is what the oldest supported onnxruntime (1.20) reads.
_OLDEST_OPSET, _NEWEST_OPSET, _WRITTEN_IR = 19, 21, 10
_FOLDED = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class TrainedModel:
    """A model that runs, with its layers.

    Attributes:
        name: for messages.
        proto: the prepared model; never changed, copied instead.
        input: name of the one data input; others of a language model are fed by their role.
        input_shape: per sample, without the batch.
        input_type: numpy's type of the input's elements.
        output: name of the first output.
        sites: in the network's order; empty for a model that is quantised already.
        quantised: whether the file holds a quantised network.
        fixed_batch: samples an execution takes if that cannot be changed; None if any number.
        companions: further inputs of a language model, by name, with their type.
    """

    name: str
    proto: ModelProto
    input: str
    input_shape: tuple[int, ...]
    input_type: np.dtype[Any]
    output: str
    sites: tuple[Site, ...]
    quantised: bool
    fixed_batch: int | None
    companions: Mapping[str, np.dtype[Any]]


def open_model(path: Path, loaded: LoadedNetwork) -> TrainedModel:
    """Prepare the model of a file.

    Args:
        path: the ONNX file.
        loaded: the same file as the frontend lowered it; its plan says if it is quantised.

    Raises:
        ModelError: no weights in the file, layers that cannot be quantised where they stand, or a
            version that onnxruntime does not read.
    """
    network = loaded.network
    try:
        model, _ = load_model(path)
        _load_external(model, path)
    except ModelError as error:
        raise ModelError(
            *(Problem(p.message, str(path), hint=p.hint) for p in error.problems)
        ) from error
    _check_weights(model, network)
    quantised = loaded.plan is not None
    if quantised:
        expand_quantisers(model)
    else:
        check_operators(network)
        expand_attention(model, network)
    model = _convert(model, network.name)
    graph = model.graph
    held = {t.name for t in graph.initializer}
    fed = [i for i in graph.input if i.name not in held]
    del graph.input[:]
    graph.input.extend(fed)
    del graph.value_info[:]
    sites: tuple[Site, ...] = ()
    if not quantised:
        constants = _constants(model)
        _fold_batch_norms(graph, constants)
        unrolled = expand_recurrent(graph, network, constants)
        sites = find_sites(graph, network, constants, unrolled)
    fixed = _free_batch(model, network)
    first, *rest = fed
    return TrainedModel(
        name=network.name,
        proto=model,
        input=first.name,
        input_shape=network.tensors[network.inputs[0]].shape[1:],
        input_type=_numpy_type(first),
        output=graph.output[0].name,
        sites=sites,
        quantised=quantised,
        fixed_batch=fixed,
        companions={info.name: _numpy_type(info) for info in rest},
    )


def _numpy_type(info: ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))


def _load_external(model: ModelProto, path: Path) -> None:
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        first = str(error).splitlines()[0]
        raise ModelError(Problem(f"its external data cannot be read: {first}")) from error


def _check_weights(model: ModelProto, network: Network) -> None:
    """Refuse a file that describes a network without holding its weights."""
    held = {t.name for t in model.graph.initializer}
    missing = [
        info.name
        for info in model.graph.input
        if info.name not in held and info.name not in network.inputs
    ]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing[:3])
        raise _no_weights(
            network, f"it lists {len(missing)} of them as inputs ({listed}{_dots(missing)})"
        )
    made = {n.output[0]: n for n in model.graph.node if n.op_type == "ConstantOfShape"}
    filled = [layer.weight for layer in network.mac_layers if layer.weight in made]
    if filled:
        raise _no_weights(network, f"'{filled[0]}' is filled with one number by ConstantOfShape")


def _dots(names: list[str]) -> str:
    return ", ..." if len(names) > 3 else ""


def _no_weights(network: Network, why: str) -> ModelError:
    return ModelError(
        Problem(
            f"the accuracy of '{network.name}' cannot be measured: its file is a skeleton without "
            f"weights: {why}",
            hint="give the ONNX file of a trained network",
        )
    )


def _convert(model: ModelProto, name: str) -> ModelProto:
    """The model in an opset that both we and onnxruntime work with."""
    version = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    target = min(max(version, _OLDEST_OPSET), _NEWEST_OPSET)
    if target != version:
        from onnx import version_converter

        try:
            model = version_converter.convert_version(model, target)
        except Exception as error:  # the C++ converter raises whatever it meets
            first = str(error).strip().splitlines()[0]
            raise ModelError(
                Problem(f"'{name}' cannot be converted from opset {version} to {target}: {first}")
            ) from error
    model.ir_version = _WRITTEN_IR
    return model


def _constants(model: ModelProto) -> dict[str, npt.NDArray[Any]]:
    """Every float value that the nodes compute from constants alone, and the initialisers."""
    graph = model.graph
    known = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    derived: list[NodeProto] = []
    names = set(known)
    for node in graph.node:
        if all(i in names or not i for i in node.input) and not any(
            a.HasField("g") for a in node.attribute
        ):
            derived.append(node)
            names.update(node.output)
    if not derived:
        return known
    outputs = [o for node in derived for o in node.output if o]
    part = helper.make_graph(
        derived,
        "constants",
        [],
        [helper.make_empty_tensor_value_info(o) for o in outputs],
        list(graph.initializer),
    )
    small = helper.make_model(part, opset_imports=list(model.opset_import))
    small.ir_version = model.ir_version
    small.functions.extend(model.functions)
    found = Runtime(small, optimise=False).run(outputs, {})
    return known | dict(zip(outputs, found, strict=True))


def _readers(graph: GraphProto) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in (*(i for n in graph.node for i in n.input), *(o.name for o in graph.output)):
        counts[name] = counts.get(name, 0) + 1
    return counts


def _fold_batch_norms(graph: GraphProto, constants: dict[str, npt.NDArray[Any]]) -> None:
    """y = s (conv(x, W) + b - mean) + beta with s = gamma / sqrt(var + eps), as one convolution."""
    makers = {o: n for n in graph.node for o in n.output}
    readers = _readers(graph)
    gone: list[NodeProto] = []
    for norm in graph.node:
        if norm.op_type != "BatchNormalization":
            continue
        layer = makers.get(norm.input[0])
        if (
            layer is None
            or layer.op_type not in _FOLDED
            or readers[norm.input[0]] != 1
            or any(name not in constants for name in (*norm.input[1:], *layer.input[1:]))
            or (layer.op_type == "ConvTranspose" and attribute(layer, "group", 1) != 1)
        ):
            continue
        gamma, beta, mean, variance = (constants[n].astype(np.float64) for n in norm.input[1:5])
        factor = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
        weight = constants[layer.input[1]]
        axis = 1 if layer.op_type == "ConvTranspose" else 0
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        bias = constants[layer.input[2]] if len(layer.input) > 2 else 0.0
        names = [f"{norm.output[0]}.{part}" for part in ("weight", "bias")]
        arrays = (weight * factor.reshape(shape), (bias - mean) * factor + beta)
        for name, array in zip(names, arrays, strict=True):
            constants[name] = array.astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(constants[name], name))
        del layer.input[1:]
        layer.input.extend(names)
        layer.output[0] = norm.output[0]
        gone.append(norm)
    for norm in gone:
        graph.node.remove(norm)


def _free_batch(model: ModelProto, network: Network) -> int | None:
    """Let the model take any number of samples at once if its answers stay the same.

    Some files fix the batch in their inputs only, others in shapes further on; trying is the one
    way to tell. Gives the number it insists on, or None.
    """
    inputs = list(model.graph.input)
    stated = network.tensors[network.inputs[0]].shape[:1] or (1,)
    kept = model.SerializeToString()
    for info in (*inputs, *model.graph.output):
        dims = info.type.tensor_type.shape.dim
        if dims:
            dims[0].ClearField("dim_value")
            dims[0].dim_param = "npubench_batch"
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")
    if len(inputs) == 1 and _takes_batches(model, network):
        return None
    model.ParseFromString(kept)
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")
    return int(stated[0])


def _takes_batches(model: ModelProto, network: Network) -> bool:
    info = model.graph.input[0]
    shape = network.tensors[network.inputs[0]].shape[1:]
    kind = _numpy_type(info)
    random = np.random.default_rng(0)
    low, high = (0, 2) if kind.kind in "iu" else (0, 1)
    pair = (random.random((2, *shape)) * (high - low) + low).astype(kind)
    output = [model.graph.output[0].name]
    try:
        runtime = Runtime(model)
        both = runtime.run(output, {info.name: pair})[0]
        singles = [runtime.run(output, {info.name: pair[i : i + 1]})[0] for i in range(2)]
    except ModelError:
        return False
    if both.shape[:1] != (2,) or any(one.shape != (1, *both.shape[1:]) for one in singles):
        return False
    return bool(np.allclose(both, np.concatenate(singles), rtol=1e-3, atol=1e-3))
