"""Small sound networks of every kind of layer, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from npubench.ir import (
    FORMATS,
    Layer,
    LoopNest,
    MacLayer,
    MoveLayer,
    Network,
    Role,
    Tensor,
    UnknownLayer,
    VectorKind,
    VectorLayer,
)

_FORMATS = st.sampled_from([FORMATS[name] for name in ("fp32", "int8", "uint4", "bf16", "bool")])
_TRIPLES = st.tuples(*[st.integers(1, 3)] * 3)


@st.composite
def networks(draw: st.DrawFn, most_layers: int = 6) -> Network:
    """A network whose layers read whatever was made before them."""
    tensors: dict[str, Tensor] = {}
    for index in range(draw(st.integers(1, 3))):
        role = draw(st.sampled_from([Role.INPUT, Role.STATE]))
        _add(tensors, draw, f"in{index}", role)
    layers: list[Layer] = []
    for index in range(draw(st.integers(0, most_layers))):
        layers.append(_layer(draw, tensors, f"layer{index}"))
    made = [name for name, t in tensors.items() if t.role is not Role.WEIGHT]
    outputs = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3, unique=True))
    # The text form lists what comes from outside by role; networks are written in that order.
    order = {role: i for i, role in enumerate((Role.INPUT, Role.STATE, Role.WEIGHT))}
    ranked = sorted(tensors.values(), key=lambda t: order.get(t.role, 3))
    inputs = tuple(t.name for t in ranked if t.role in {Role.INPUT, Role.STATE})
    return Network("net", {t.name: t for t in ranked}, tuple(layers), inputs, tuple(outputs))


def _add(tensors: dict[str, Tensor], draw: st.DrawFn, name: str, role: Role) -> str:
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    tensors[name] = Tensor(name, shape, draw(_FORMATS), role)
    return name


def _layer(draw: st.DrawFn, tensors: dict[str, Tensor], name: str) -> Layer:
    made = [n for n, t in tensors.items() if t.role is not Role.WEIGHT]
    reads = tuple(draw(st.lists(st.sampled_from(made), min_size=1, max_size=3)))
    kind = draw(st.sampled_from(["mac", "vector", "move", "view", "unknown"]))
    trips = 1 if kind == "unknown" else draw(st.integers(1, 3))
    if kind == "mac":
        return _mac(draw, tensors, name, reads[0], trips)
    count = 1 if kind == "view" else draw(st.integers(1, 2))
    writes = tuple(_add(tensors, draw, f"{name}.{i}", Role.ACTIVATION) for i in range(count))
    same = {"name": name, "inputs": reads, "outputs": writes, "trips": trips}
    if kind == "vector":
        return VectorLayer(
            op="Op",
            kind=draw(st.sampled_from(list(VectorKind))),
            alu_ops=draw(st.integers(0, 99)),
            special_ops=draw(st.integers(0, 99)),
            window=draw(st.integers(1, 9)),
            **same,
        )
    if kind == "unknown":
        return UnknownLayer(op="com.acme.Foo", reason="no such operator", **same)
    return MoveLayer(op="Move", elements=0 if kind == "view" else draw(st.integers(1, 9)), **same)


def _mac(draw: st.DrawFn, tensors: dict[str, Tensor], name: str, data: str, trips: int) -> MacLayer:
    nest = LoopNest(
        **{dim: draw(st.integers(1, 3)) for dim in ("B", "G", "K", "C", "OY", "OX", "FY", "FX")},
        stride=draw(_TRIPLES),
        dilation=draw(_TRIPLES),
        pad_begin=draw(_TRIPLES),
        input_extent=draw(_TRIPLES),
    )
    weight, bias, out = f"{name}.w", f"{name}.b", f"{name}.y"
    batched = draw(st.booleans())
    role = Role.STATE if batched else Role.WEIGHT
    tensors[weight] = Tensor(weight, (nest.weight_elements,), draw(_FORMATS), role)
    tensors[bias] = Tensor(bias, (nest.K,), draw(_FORMATS), Role.WEIGHT)
    tensors[out] = Tensor(out, (nest.output_elements,), draw(_FORMATS))
    with_bias = draw(st.booleans())
    return MacLayer(
        name=name,
        op="Conv",
        inputs=(data, weight, bias) if with_bias else (data, weight),
        outputs=(out,),
        trips=trips,
        nest=nest,
        data=data,
        weight=weight,
        bias=bias if with_bias else "",
        weight_batched=batched,
    )
