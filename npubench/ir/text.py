"""A short text form of a network, for tests and for reading: one tensor or layer a line.

    network tiny
    input x fp32[1,3,8,8]
    weight w fp32[16,3,3,3]
    mac conv Conv (x w) -> y fp32[1,16,6,6] : K16 C3 OY6 OX6 FY3 FX3 in=1,8,8
    vector relu Relu activation (y) -> z fp32[1,16,6,6] : alu=576
    move flat Reshape (z) -> f fp32[1,576] : elements=0
    unknown odd Foo (f) -> g fp32[1,4] : no such operator
    output g

In a mac line the first operand is the data, the second the weight, a third the bias. ``trips=``,
``stride=``, ``dilation=``, ``pad=`` (triples Z,Y,X), ``batched=1``, ``special=`` and ``window=``
are optional. Reading back what was written gives an equal network, apart from approximations,
assumptions and axis names.
"""

from __future__ import annotations

import re

from npubench.errors import ModelError, Problem
from npubench.ir.formats import parse_format
from npubench.ir.layer import (
    LOOP_DIMS,
    Layer,
    LoopNest,
    MacLayer,
    MoveLayer,
    UnknownLayer,
    VectorKind,
    VectorLayer,
)
from npubench.ir.network import Network
from npubench.ir.tensor import Role, Tensor

__all__ = ["format_network", "parse_network"]

_TENSOR = re.compile(r"(?P<name>\S+) (?P<dtype>[a-z0-9]+)\[(?P<shape>[0-9,]*)\]")
_LAYER = re.compile(
    r"(?P<tag>mac|vector|move|unknown) (?P<name>\S+) (?P<op>\S+)(?: (?P<kind>[a-z]+))? "
    r"\((?P<inputs>[^)]*)\) -> (?P<outputs>.*?) : ?(?P<rest>.*)"
)
_TRIPLES = {"stride": (1, 1, 1), "dilation": (1, 1, 1), "pad": (0, 0, 0), "in": (1, 1, 1)}


def format_network(network: Network) -> str:
    """The text form of a network."""
    lines = [f"network {network.name}"]
    for role in (Role.INPUT, Role.STATE, Role.WEIGHT):
        lines += [
            f"{role.value} {_tensor_text(t)}" for t in network.tensors.values() if t.role is role
        ]
    lines += [_layer_text(network, layer) for layer in network.layers]
    lines += [f"output {name}" for name in network.outputs]
    return "\n".join(lines) + "\n"


def parse_network(text: str) -> Network:
    """Read the text form and verify it.

    Raises:
        ModelError: a line that does not parse (with its number), or a network that is not sound.
    """
    name, outputs = "unnamed", []
    tensors: dict[str, Tensor] = {}
    layers: list[Layer] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        tag, _, rest = line.partition(" ")
        try:
            if tag == "network":
                name = rest
            elif tag in {Role.INPUT.value, Role.STATE.value, Role.WEIGHT.value}:
                tensor = _parse_tensor(rest, Role(tag))
                tensors[tensor.name] = tensor
            elif tag == "output":
                outputs.append(rest)
            else:
                layer, made = _parse_layer(line)
                layers.append(layer)
                tensors.update({t.name: t for t in made})
        except ValueError as error:
            raise ModelError(Problem(str(error), file="<text>", line=number)) from None
    inputs = tuple(n for n, t in tensors.items() if t.role in {Role.INPUT, Role.STATE})
    return Network(name, tensors, tuple(layers), inputs, tuple(outputs)).verify()


def _tensor_text(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.dtype}[{','.join(map(str, tensor.shape))}]"


def _layer_text(network: Network, layer: Layer) -> str:
    outputs = ", ".join(_tensor_text(network.tensors[name]) for name in layer.outputs)
    inputs = " ".join(layer.inputs)
    kind = ""
    options: list[str] = []
    if isinstance(layer, MacLayer):
        tag = "mac"
        nest = layer.nest
        options += [f"{dim}{n}" for dim, n in nest.bounds.items() if n > 1]
        triples = {
            "stride": nest.stride,
            "dilation": nest.dilation,
            "pad": nest.pad_begin,
            "in": nest.input_extent,
        }
        options += [
            f"{key}={','.join(map(str, value))}"
            for key, value in triples.items()
            if value != _TRIPLES[key]
        ]
        options += ["batched=1"] if layer.weight_batched else []
    elif isinstance(layer, VectorLayer):
        tag, kind = "vector", f" {layer.kind.value}"
        options.append(f"alu={layer.alu_ops}")
        options += [f"special={layer.special_ops}"] if layer.special_ops else []
        options += [f"window={layer.window}"] if layer.window != 1 else []
    elif isinstance(layer, MoveLayer):
        tag = "move"
        options.append(f"elements={layer.elements}")
    elif isinstance(layer, UnknownLayer):
        tag = "unknown"
        options.append(layer.reason)
    else:
        raise TypeError(f"no text form for {type(layer).__name__}")
    if layer.trips != 1:
        options.insert(0, f"trips={layer.trips}")
    head = f"{tag} {layer.name} {layer.op}{kind} ({inputs}) -> {outputs}"
    return f"{head} : {' '.join(options)}".rstrip()


def _parse_tensor(text: str, role: Role) -> Tensor:
    match = _TENSOR.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a tensor such as 'x fp32[1,3,8,8]', got '{text.strip()}'")
    shape = tuple(int(n) for n in match["shape"].split(",") if n)
    return Tensor(match["name"], shape, parse_format(match["dtype"]), role)


def _parse_layer(line: str) -> tuple[Layer, list[Tensor]]:
    match = _LAYER.fullmatch(line)
    if match is None:
        raise ValueError(f"expected 'mac|vector|move|unknown NAME OP (...) -> ...', got '{line}'")
    made = [
        _parse_tensor(part, Role.ACTIVATION)
        for part in re.split(r",\s+", match["outputs"])
        if part.strip()
    ]
    inputs = tuple(match["inputs"].split())
    outputs = tuple(t.name for t in made)
    rest = match["rest"]
    if match["tag"] == "unknown":
        layer: Layer = UnknownLayer(
            name=match["name"], op=match["op"], inputs=inputs, outputs=outputs, reason=rest
        )
        return layer, made
    options: dict[str, str] = {}
    loops: dict[str, int] = {}
    for word in rest.split():
        key, equals, value = word.partition("=")
        if equals:
            options[key] = value
        else:
            loops.update([_parse_loop(word)])
    trips = int(options.pop("trips", "1"))
    if match["tag"] == "mac":
        layer = _parse_mac(match, inputs, outputs, trips, loops, options)
    elif match["tag"] == "vector":
        layer = VectorLayer(
            name=match["name"],
            op=match["op"],
            inputs=inputs,
            outputs=outputs,
            trips=trips,
            kind=VectorKind(match["kind"] or "elementwise"),
            alu_ops=int(options.pop("alu", "0")),
            special_ops=int(options.pop("special", "0")),
            window=int(options.pop("window", "1")),
        )
    else:
        layer = MoveLayer(
            name=match["name"],
            op=match["op"],
            inputs=inputs,
            outputs=outputs,
            trips=trips,
            elements=int(options.pop("elements", "0")),
        )
    if options:
        raise ValueError(f"unknown option '{next(iter(options))}'")
    return layer, made


def _parse_mac(
    match: re.Match[str],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    trips: int,
    loops: dict[str, int],
    options: dict[str, str],
) -> MacLayer:
    if len(inputs) < 2:
        raise ValueError("a mac line needs two operands: (data weight)")
    triples = {key: _parse_triple(options.pop(key, ""), _TRIPLES[key]) for key in _TRIPLES}
    nest = LoopNest(
        **loops,
        stride=triples["stride"],
        dilation=triples["dilation"],
        pad_begin=triples["pad"],
        input_extent=triples["in"],
    )
    return MacLayer(
        name=match["name"],
        op=match["op"],
        inputs=inputs,
        outputs=outputs,
        trips=trips,
        nest=nest,
        data=inputs[0],
        weight=inputs[1],
        bias=inputs[2] if len(inputs) > 2 else "",
        weight_batched=options.pop("batched", "0") == "1",
    )


def _parse_loop(word: str) -> tuple[str, int]:
    match = re.fullmatch(r"([A-Z]+)([0-9]+)", word)
    if match is None or match[1] not in LOOP_DIMS:
        raise ValueError(f"expected a loop such as K64 or an option such as trips=3, got '{word}'")
    return match[1], int(match[2])


def _parse_triple(text: str, default: tuple[int, int, int]) -> tuple[int, int, int]:
    if not text:
        return default
    parts = tuple(int(n) for n in text.split(","))
    if len(parts) != 3:
        raise ValueError(f"expected three numbers Z,Y,X, got '{text}'")
    return parts[0], parts[1], parts[2]
