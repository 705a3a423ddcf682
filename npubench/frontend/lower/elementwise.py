"""Element-wise operators: work is the elements of the result times a row of the cost tables."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, number
from npubench.frontend.lower.costs import (
    ACTIVATIONS,
    BINARY,
    MICROSOFT,
    REQUANTISE,
    ROTATE,
    UNARY,
    VARIADIC,
    Work,
)
from npubench.ir import VectorKind

__all__ = ["LOWERINGS"]


def _per_element(
    scope: Scope,
    node: Node,
    work: Work,
    kind: VectorKind = VectorKind.ELEMENTWISE,
    approximation: str = "",
    data: tuple[int, ...] | None = None,
) -> None:
    """Add work for every element of the first result; ``data`` gives the operands that are data."""
    elements = scope.size(next(name for name in node.outputs if name))
    scope.vector(
        node,
        kind,
        inputs=scope.reads(node.inputs) if data is None else scope.read_data(node, *data),
        outputs=scope.writes(node.outputs),
        alu=work[0] * elements,
        special=work[1] * elements,
        approximation=approximation,
    )


def _activation(scope: Scope, node: Node) -> None:
    _per_element(scope, node, ACTIVATIONS[node.op], VectorKind.ACTIVATION)


def _gelu(scope: Scope, node: Node) -> None:
    tanh_form = node.attribute("approximate", "none") == "tanh"
    work = ACTIVATIONS["FastGelu" if tanh_form or node.op == "FastGelu" else "Gelu"]
    _per_element(scope, node, (work[0] + bool(node.input(1)), work[1]), VectorKind.ACTIVATION)


def _clip(scope: Scope, node: Node) -> None:
    """One comparison per limit; limits are attributes before opset 11, operands since."""
    limits = sum(
        bool(node.input(index)) or name in node.attributes
        for index, name in ((1, "min"), (2, "max"))
    )
    _per_element(scope, node, (limits, 0), VectorKind.ACTIVATION, data=(0,))


def _unary(scope: Scope, node: Node) -> None:
    _per_element(scope, node, UNARY[node.op])


def _binary(scope: Scope, node: Node) -> None:
    _per_element(scope, node, BINARY[node.op.removeprefix("QLinear")])


def _divide(scope: Scope, node: Node) -> None:
    """Division by a held number is multiplication by its reciprocal, made once."""
    is_float = scope.value(node.outputs[0]).dtype.is_float
    by_weight = is_float and scope.is_weight(node.input(1))
    _per_element(scope, node, BINARY["Mul" if by_weight else "Div"])


# Products that make a power of a small whole exponent; any other is a special function.
_POWERS = {1.0: 0, 2.0: 1, 3.0: 2, 4.0: 2}


def _power(scope: Scope, node: Node) -> None:
    exponent = number(scope, node.input(1))
    products = None if exponent is None else _POWERS.get(exponent)
    _per_element(scope, node, BINARY["Pow"] if products is None else (products, 0))


def _variadic(scope: Scope, node: Node) -> None:
    pairs = sum(bool(name) for name in node.inputs) - 1
    work = VARIADIC[node.op]
    # A mean multiplies once by 1/n.
    _per_element(scope, node, (work[0] * pairs + (node.op == "Mean"), work[1] * pairs))


def _cast(scope: Scope, node: Node) -> None:
    """One conversion per element; between equal types nothing happens."""
    same = scope.value(node.input(0)).dtype == scope.value(node.outputs[0]).dtype
    inputs = (scope.read(node.input(0)),)
    outputs = scope.writes(node.outputs)
    if same or node.op == "BitCast":
        scope.move(node, inputs, outputs, 0)
        return
    elements = scope.size(node.outputs[0])
    scope.vector(node, VectorKind.ELEMENTWISE, inputs=inputs, outputs=outputs, alu=elements)


def _bias_activation(scope: Scope, node: Node) -> None:
    """BiasGelu and QuickGelu."""
    _per_element(scope, node, ACTIVATIONS[node.op], VectorKind.ACTIVATION)


def _rotary(scope: Scope, node: Node) -> None:
    _per_element(scope, node, ROTATE)


def _random(scope: Scope, node: Node) -> None:
    _per_element(scope, node, UNARY[node.op], approximation="random numbers by a linear generator")


def _one_per_element(scope: Scope, node: Node) -> None:
    """Range, OneHot, Trilu and the like: one comparison or addition per element written."""
    _per_element(scope, node, (1, 0), data=(0,))


def _window_function(scope: Scope, node: Node) -> None:
    """Sums of cosines: two for Hann and Hamming, three for Blackman."""
    terms = 2 if node.op == "BlackmanWindow" else 1
    _per_element(scope, node, (3 * terms, terms))


def _qlinear(scope: Scope, node: Node) -> None:
    """Integer operators with scales: the float operator's work, then requantisation."""
    op = node.op.removeprefix("QLinear")
    alu, special = {**BINARY, **ACTIVATIONS}[op]
    _per_element(scope, node, (alu + REQUANTISE, special))


def _determinant(scope: Scope, node: Node) -> None:
    """Gaussian elimination: n^3/3 multiplications and as many subtractions, n divisions."""
    x = scope.shape(node.input(0))
    side = x[-1] if x else 1
    matrices = prod(x[:-2])
    scope.vector(
        node,
        VectorKind.ELEMENTWISE,
        inputs=scope.reads(node.inputs),
        outputs=scope.writes(node.outputs),
        alu=matrices * 2 * side**3 // 3,
        special=matrices * side,
        approximation="determinant by elimination without pivoting",
    )


def _affine_grid(scope: Scope, node: Node) -> None:
    """One affine map per position: for each of n results n products and n sums."""
    axes = scope.shape(node.outputs[0])[-1]
    _per_element(scope, node, (2 * axes, 0))


_RANDOM = (
    "Bernoulli",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)

_CLASSIC = ("Binarizer", "Scaler", "Imputer")  # of ONNX's domain for classic machine learning

LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    **{("", op): _unary for op in UNARY if op not in (*_RANDOM, *_CLASSIC)},
    **{("", op): _binary for op in BINARY},
    **{("", op): _variadic for op in VARIADIC},
    **{("", op): _activation for op in ACTIVATIONS},
    **{("", op): _random for op in _RANDOM},
    **{("ai.onnx.ml", op): _unary for op in _CLASSIC},
    **{("", op): _one_per_element for op in ("Range", "OneHot", "Trilu", "EyeLike")},
    **{("", op): _window_function for op in ("BlackmanWindow", "HannWindow", "HammingWindow")},
    **{
        (MICROSOFT, f"QLinear{op}"): _qlinear
        for op in ("Add", "Mul", "Sigmoid", "LeakyRelu", "Where")
    },
    (MICROSOFT, "BiasAdd"): _binary,
    **{(MICROSOFT, op): _bias_activation for op in ("BiasGelu", "QuickGelu")},
    ("", "Gelu"): _gelu,
    (MICROSOFT, "Gelu"): _gelu,
    (MICROSOFT, "FastGelu"): _gelu,
    ("", "Clip"): _clip,
    ("", "Div"): _divide,
    ("", "Pow"): _power,
    ("", "Cast"): _cast,
    ("", "CastLike"): _cast,
    ("", "BitCast"): _cast,
    ("", "RotaryEmbedding"): _rotary,
    (MICROSOFT, "RotaryEmbedding"): _rotary,
    ("", "Det"): _determinant,
    ("", "AffineGrid"): _affine_grid,
}
