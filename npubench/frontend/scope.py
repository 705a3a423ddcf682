"""Names while a model is read: scopes of functions and bodies, and the graph being built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, ValueInfoProto

from npubench.errors import ModelError, Problem, did_you_mean
from npubench.frontend.dims import Dims
from npubench.frontend.external import ExternalData
from npubench.frontend.graph import Graph, Node
from npubench.frontend.infer import node_label
from npubench.frontend.normalise import finish_graph
from npubench.frontend.proto import Fact

__all__ = ["Builder", "FunctionKey", "Scope", "Session", "Walk", "deeper"]

FunctionKey = tuple[str, str, str]

# Functions that call functions can describe more nodes than any machine reads.
_MAX_NODES = 100_000
_MAX_DEPTH = 48


@dataclass(slots=True)
class Session:
    """What is shared by all graphs of one model.

    Attributes:
        functions: model-local functions by domain, name and overload.
        opsets: versions by domain that the model imports.
        external: reader of small external tensors.
        dims: values of symbolic dimensions.
        trips: trip counts by loop name, as the user gave them.
        constants_count: whether values inside the file are parameters: not in a skeleton, which
            lists its parameters among its inputs.
        assumptions: what reading had to decide, in order, each once.
        taken: names of values in use anywhere in the model.
        visited: nodes walked so far, bodies and functions included.
    """

    functions: Mapping[FunctionKey, FunctionProto]
    opsets: Mapping[str, int]
    external: ExternalData
    dims: Dims
    trips: Mapping[str, int]
    constants_count: bool = True
    assumptions: dict[str, None] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    visited: int = 0
    _numbers: dict[str, int] = field(default_factory=dict)

    def assume(self, text: str) -> None:
        """State an assumption, once."""
        self.assumptions[text] = None

    def visit(self) -> None:
        """Count a node against the limit."""
        self.visited += 1
        if self.visited > _MAX_NODES:
            raise ModelError(
                Problem(f"the model unfolds into more than {_MAX_NODES} nodes; npubench stops here")
            )

    def fresh(self, name: str) -> str:
        """The name, with a number behind it if it is taken."""
        return unique_name(name, self.taken, self._numbers)


class Builder:
    """A graph under construction."""

    def __init__(self, session: Session, parent: Builder | None = None) -> None:
        self.session = session
        self.parent = parent
        self.nodes: list[Node] = []
        self.facts: dict[str, Fact] = {}
        self._names: set[str] = set()
        self._numbers: dict[str, int] = {}

    def add(self, node: Node) -> None:
        """Append a node, renamed if its name is taken."""
        name = unique_name(node.name, self._names, self._numbers)
        self.nodes.append(node if name == node.name else replace(node, name=name))

    def capture(self, fact: Fact, owner: Builder) -> None:
        """Make an outer value known here and in every graph between."""
        builder: Builder | None = self
        while builder is not None and builder is not owner:
            builder.facts.setdefault(fact.name, fact)
            builder = builder.parent

    def finish(self, name: str, inputs: Sequence[Fact], outputs: Sequence[Fact]) -> Graph:
        """The graph, cleaned up and frozen."""
        graph, notes = finish_graph(
            name, self.nodes, self.facts, [f.name for f in inputs], [f.name for f in outputs]
        )
        for note in notes:
            self.session.assume(note)
        return graph


@dataclass(slots=True)
class Scope:
    """Where a list of nodes looks its names up.

    Attributes:
        session: of the model.
        builder: the graph that receives the nodes.
        parent: the scope around a body; None for the model itself and for functions.
        prefix: put before every name that is defined here.
        opsets: versions by domain.
        attributes: of the call of the function that is being inlined.
        aliases: names that some results are to have: those of the caller.
        facts: by the names of the file; None stands for an optional operand left out.
        hints: the file's own value information.
        wanted: names that something in this scope uses.
        calls: functions being inlined, outermost first.
        depth: of bodies and functions.
    """

    session: Session
    builder: Builder
    parent: Scope | None = None
    prefix: str = ""
    opsets: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, AttributeProto] | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Fact | None] = field(default_factory=dict)
    hints: dict[str, ValueInfoProto] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    calls: tuple[FunctionKey, ...] = ()
    depth: int = 0

    def inner(self, prefix: str, builder: Builder | None = None) -> Scope:
        """A scope for a body that sees all names of this one.

        Raises:
            ModelError: bodies are nested too deep.
        """
        return Scope(
            session=self.session,
            builder=self.builder if builder is None else builder,
            parent=self,
            prefix=self.prefix + prefix,
            opsets=self.opsets,
            attributes=self.attributes,
            calls=self.calls,
            depth=deeper(self.depth),
        )

    def lookup(self, name: str, node: NodeProto | None = None) -> Fact | None:
        """What is known of a name; a value from outside is captured.

        Raises:
            ModelError: nothing makes that value.
        """
        scope: Scope | None = self
        while scope is not None:
            if name in scope.facts:
                fact = scope.facts[name]
                if fact is not None and scope.builder is not self.builder:
                    self.builder.capture(fact, scope.builder)
                return fact
            scope = scope.parent
        raise self._undefined(name, node)

    def sees(self, name: str) -> bool:
        """Whether `lookup` would find a name."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.facts:
                return True
            scope = scope.parent
        return False

    def _undefined(self, name: str, node: NodeProto | None) -> ModelError:
        known = list(self.facts)
        user = "the graph's output" if node is None else f"{node_label(node)}: operand"
        return ModelError(
            Problem(
                f"{user} '{name}' is not made by any node, initialiser or input",
                hint=did_you_mean(name, known, listed=3),
            )
        )

    def global_name(self, name: str) -> str:
        """The name in the graph for a value that is about to be defined here."""
        alias = self.aliases.pop(name, None)
        if alias is not None:
            return alias
        if not self.prefix:
            return name  # the model's own names are unique, and reserved from the start
        return self.session.fresh(self.prefix + name)

    def define(self, name: str, fact: Fact) -> None:
        """Enter a value that carries its graph-wide name already."""
        self.facts[name] = fact
        self.builder.facts.setdefault(fact.name, fact)


# Walks a graph's nodes in a scope and gives what is known of its outputs.
Walk = Callable[[GraphProto, Scope], list[Fact]]


def unique_name(name: str, taken: set[str], numbers: dict[str, int]) -> str:
    """The name, with a number behind it if it is taken; `taken` and `numbers` are updated."""
    candidate = name
    while candidate in taken:
        numbers[name] = numbers.get(name, 1) + 1
        candidate = f"{name}_{numbers[name]}"
    taken.add(candidate)
    return candidate


def deeper(depth: int) -> int:
    """One level down.

    Raises:
        ModelError: below the deepest level.
    """
    if depth >= _MAX_DEPTH:
        raise ModelError(
            Problem(f"bodies and functions are nested more than {_MAX_DEPTH} levels deep")
        )
    return depth + 1
