"""What a rule for an operator's shapes gets to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnx import NodeProto, helper

from npubench.errors import ModelError
from npubench.frontend.infer import Inferred, find_schema, infer_standard, mistake
from npubench.frontend.proto import Fact

__all__ = ["Call", "Rule", "Shape", "apply_rule", "same"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One operator to find the shapes of.

    Attributes:
        node: for messages and names.
        inputs: what is known of its operands; None where left out.
        attributes: as `proto.plain_attributes` gives them.
        opset: version of ONNX's own domain.
    """

    node: NodeProto
    inputs: Sequence[Fact | None]
    attributes: Mapping[str, object]
    opset: int

    def has(self, index: int) -> bool:
        """Whether an operand is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def fact(self, index: int) -> Fact:
        """An operand that must be given."""
        fact = self.inputs[index] if index < len(self.inputs) else None
        if fact is None:
            raise self.wrong(f"operand {index} is left out")
        return fact

    def shape(self, index: int, rank: int | None = None) -> Shape:
        """Shape of an operand, which must have that many axes if stated."""
        shape = self.fact(index).shape
        if rank is not None and len(shape) != rank:
            raise self.wrong(f"operand {index} has {len(shape)} axes, not {rank}")
        return shape

    def elem(self, index: int) -> int:
        """Element type of an operand."""
        return self.fact(index).elem

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.wrong(f"attribute '{name}' is missing")
        return value

    def wrong(self, reason: str) -> ModelError:
        """The error for operands or attributes that do not fit."""
        return mistake(self.node, self.inputs, reason)

    def standard(
        self, op: str, facts: Sequence[Fact | None], attributes: Mapping[str, object] | None = None
    ) -> Shape | None:
        """Shape that an operator of ONNX's own gives, with those attributes it knows."""
        schema = find_schema(op, self.opset, "")
        if schema is None:
            return None
        given = self.attributes if attributes is None else attributes
        names = [f"i{i}" if fact is not None else "" for i, fact in enumerate(facts)]
        node = helper.make_node(
            op,
            names,
            [next((output for output in self.node.output if output), "o")],
            name=self.node.name,
        )
        node.attribute.extend(
            helper.make_attribute(k, v) for k, v in given.items() if k in schema.attributes
        )
        found = infer_standard(schema, node, facts, {"": self.opset})[0]
        return None if found is None else found[1]


Rule = Callable[[Call], list[Inferred | None]]


def apply_rule(rule: Rule, call: Call) -> list[Inferred | None]:
    """What the rule says.

    A rule takes axes and sizes as the operator defines them; where an operand does not have them
    or an attribute divides by zero, the operands do not fit.

    Raises:
        ModelError: the operands do not fit together.
    """
    try:
        return rule(call)
    except (IndexError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise call.wrong("an axis, size or attribute is not as the operator has it") from error


def same(call: Call) -> list[Inferred | None]:
    """One result, like the first operand."""
    return [(call.elem(0), call.shape(0))]
