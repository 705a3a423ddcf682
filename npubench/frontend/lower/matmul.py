"""Gemm and MatMul in floating point, and their fused forms.

The product itself is added by `gemm` and `matmul`, which the quantised forms use too; work on
each element of the result (a factor, an activation, a large addend) is a vector layer after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, Shape, fail
from npubench.frontend.lower.contraction import contract, matmul_operands, row_names
from npubench.frontend.lower.costs import ACTIVATIONS, MICROSOFT, Work, activation_work
from npubench.ir import Format, Role, VectorKind

__all__ = ["LOWERINGS", "finish", "gemm", "is_row_bias", "matmul"]


def matmul(
    scope: Scope,
    node: Node,
    left: tuple[str, Shape],
    right: tuple[str, Shape],
    outputs: tuple[str, ...],
    bias: str = "",
    suffix: str = "",
    scales: tuple[str, ...] = (),
) -> None:
    """Add the layer of numpy's matmul; operands are tensors with the shapes to multiply in.

    Raises:
        ModelError: a scalar operand, or shapes that do not match.
    """
    if not left[1] or not right[1]:
        raise fail(node, "a matrix product of a scalar")
    a, b = matmul_operands(left, right)
    if a.extent("k") != b.extent("k"):
        raise fail(node, f"operands of shapes {a.shape} and {b.shape} do not match")
    batch = a.labels[:-2] if len(a.labels) > len(b.labels) else b.labels[:-2]
    contract(scope, node, a, b, (*batch, "m", "n"), outputs, bias, suffix, scales=scales)
    if len(right[1]) == 2 and scope.tensor(right[0]).role is Role.WEIGHT:
        if scope.tensor(left[0]).shape == left[1]:
            scope.name_axes(left[0], row_names(len(left[1])))
        scope.name_axes(outputs[0], row_names(len(left[1])))


def gemm(
    scope: Scope, node: Node, left: str, right: str, outputs: tuple[str, ...], bias: str = ""
) -> None:
    """Add the layer of ``A' x B'`` with ``transA`` and ``transB``; operands are value names.

    Raises:
        ModelError: operands that are no matrices or do not match.
    """
    shapes = []
    for name, attribute in ((left, "transA"), (right, "transB")):
        shape = scope.shape(name)
        if len(shape) != 2:
            raise fail(node, f"operand '{name}' of shape {shape} is not a matrix")
        shapes.append(shape[::-1] if node.attribute(attribute, 0) else shape)
    matmul(
        scope,
        node,
        (scope.read(left), shapes[0]),
        (scope.read(right), shapes[1]),
        outputs,
        bias=scope.read(bias) if bias else "",
    )


def is_row_bias(scope: Scope, bias: str, columns: int, weight: str) -> bool:
    """Whether an addend is one held number per output channel of a product with a held weight."""
    if not scope.is_weight(bias) or not scope.is_weight(weight):
        return False
    return scope.shape(bias)[-1:] in ((columns,), (1,), ()) and scope.size(bias) in (1, columns)


def finish(
    scope: Scope,
    node: Node,
    product: Callable[[tuple[str, ...]], None],
    work: Work,
    inputs: tuple[str, ...] = (),
    kind: VectorKind = VectorKind.ELEMENTWISE,
    sums: Format | None = None,
    suffix: str = "after",
) -> None:
    """Add a product, and after it the work per element of its result where there is any.

    Args:
        scope: where to add.
        node: the fused operator; its first output is the result.
        product: adds the product, given the tensors it writes.
        work: (alu, special) per element after the product.
        inputs: tensors that the work reads besides the sums.
        kind: of the work.
        sums: element type between the two, that of the result if None.
        suffix: of the second layer's name.
    """
    if work == (0, 0):
        product(scope.writes(node.outputs))
        return
    result = scope.value(node.outputs[0])
    between = scope.temporary(node, "sums", result.shape, sums or result.dtype)
    product((between,))
    elements = prod(result.shape)
    scope.vector(
        node,
        kind,
        inputs=(between, *inputs),
        outputs=scope.writes(node.outputs),
        alu=work[0] * elements,
        special=work[1] * elements,
        suffix=suffix,
    )


def _matmul(scope: Scope, node: Node) -> None:
    a, b = node.input(0), node.input(1)
    left, right = (scope.read(a), scope.shape(a)), (scope.read(b), scope.shape(b))
    matmul(scope, node, left, right, scope.writes(node.outputs))


def _fused_matmul(scope: Scope, node: Node) -> None:
    """Operands transposed by attributes, a factor ``alpha``, an activation."""
    operands = []
    for name, side in ((node.input(0), "A"), (node.input(1), "B")):
        shape = list(scope.shape(name))
        if node.attribute(f"transBatch{side}", 0) and len(shape) > 2:
            shape.insert(len(shape) - 2, shape.pop(0))
        if node.attribute(f"trans{side}", 0) and len(shape) > 1:
            shape[-1], shape[-2] = shape[-2], shape[-1]
        operands.append((scope.read(name), tuple(shape)))
    alu, special = _activation(node)
    alu += node.attribute("alpha", 1.0) != 1.0
    finish(
        scope,
        node,
        lambda outputs: matmul(scope, node, operands[0], operands[1], outputs),
        (alu, special),
    )


def _activation(node: Node) -> Work:
    name = node.attribute("activation", "")
    return activation_work(name) if name else (0, 0)


def _gemm(scope: Scope, node: Node) -> None:
    """``alpha * A' x B' + beta * C``; also FusedGemm, with an activation.

    Factors other than 1 cost a multiplication each; a held C has its beta folded in.
    """
    a, b, addend = node.input(0), node.input(1), node.input(2)
    columns = scope.shape(node.outputs[0])[-1]
    as_bias = is_row_bias(scope, addend, columns, b) and node.attribute("alpha", 1.0) == 1.0
    alu, special = _activation(node)
    alu += node.attribute("alpha", 1.0) != 1.0
    if addend and not as_bias:
        alu += 1 + (node.attribute("beta", 1.0) != 1.0 and not scope.is_weight(addend))
    finish(
        scope,
        node,
        lambda outputs: gemm(scope, node, a, b, outputs, addend if as_bias else ""),
        (alu, special),
        inputs=() if as_bias else scope.reads((addend,)),
    )


def _gemm_fast_gelu(scope: Scope, node: Node) -> None:
    a, b, bias = node.input(0), node.input(1), node.input(2)
    left, right = (scope.read(a), scope.shape(a)), (scope.read(b), scope.shape(b))
    held = scope.read(bias) if bias else ""
    finish(
        scope,
        node,
        lambda outputs: matmul(scope, node, left, right, outputs, bias=held),
        ACTIVATIONS["FastGelu"],
        kind=VectorKind.ACTIVATION,
    )


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    ("", "MatMul"): _matmul,
    ("", "Gemm"): _gemm,
    (MICROSOFT, "FusedMatMul"): _fused_matmul,
    (MICROSOFT, "TransposeMatMul"): _fused_matmul,
    (MICROSOFT, "FusedMatMulActivation"): _fused_matmul,
    (MICROSOFT, "FusedGemm"): _gemm,
    (MICROSOFT, "GemmFastGelu"): _gemm_fast_gelu,
}
