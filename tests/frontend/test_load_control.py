"""Functions, branches and loops: what is inlined, what stays a body, and the questions asked."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from npubench.frontend import scope
from npubench.frontend.graph import Graph, Node
from tests.frontend.onnx_text import model, read, refusal, shapes

FUNCTIONS = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
g (float[1, 8] x, float[8, 8] w) => (y) {
    y = local.outer <slope: float = 0.5> (x, w)
}
<domain: "local", opset_import: ["": 17, "local": 1]>
outer <slope> (a, b) => (c) {
    t = MatMul(a, b)
    c = local.act <alpha: float = @slope> (t)
}
<domain: "local", opset_import: ["": 17]>
act <alpha> (a) => (c) {
    t = Neg(a)
    c = LeakyRelu <alpha: float = @alpha> (t)
}
"""


def lines(graph: Graph) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    return [(n.name, n.op, n.inputs, n.outputs) for n in graph.nodes]


def body(node: Node, name: str = "body") -> Graph:
    graph = node.attributes[name]
    assert isinstance(graph, Graph)
    return graph


def test_functions_are_inlined_with_their_attributes():
    graph = read(onnx.parser.parse_model(FUNCTIONS), weight_inputs=["w"])
    assert lines(graph) == [
        ("y/t", "MatMul", ("x", "w"), ("y/t",)),
        ("y/c/t", "Neg", ("y/t",), ("y/c/t",)),
        ("y/c/c", "LeakyRelu", ("y/c/t",), ("y",)),
    ]
    assert graph.nodes[2].attributes["alpha"] == 0.5


def test_a_function_called_twice_gets_names_of_its_own():
    text = FUNCTIONS.replace(
        "y = local.outer <slope: float = 0.5> (x, w)",
        """[call] t = local.act <alpha: float = 0.5> (x)
           [call] y = local.act <alpha: float = 2.0> (t)""",
    )
    graph = read(onnx.parser.parse_model(text), weight_inputs=[])
    assert lines(graph) == [
        ("call/t", "Neg", ("x",), ("call/t",)),
        ("call/c", "LeakyRelu", ("call/t",), ("t",)),
        ("call/t_2", "Neg", ("t",), ("call/t_2",)),
        ("call/c_2", "LeakyRelu", ("call/t_2",), ("y",)),
    ]


def test_an_operand_that_the_call_leaves_out_is_left_out_inside():
    text = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
    g (float[1, 8] x) => (y) { y = local.limit (x) }
    <domain: "local", opset_import: ["": 17]>
    limit (a, low) => (c) { c = Clip(a, low) }
    """
    graph = read(onnx.parser.parse_model(text))
    assert lines(graph) == [("y/c", "Clip", ("x", ""), ("y",))]


def test_a_function_that_calls_itself_is_refused():
    text = FUNCTIONS.replace("local.act <alpha: float = @slope> (t)", "local.outer (t, b)")
    assert refusal(onnx.parser.parse_model(text)) == (
        "node 'c' (local.outer): function 'local.outer' calls itself"
    )


def test_a_call_with_too_many_operands_is_refused():
    text = FUNCTIONS.replace("local.act <alpha: float = @slope> (t)", "local.act (t, t)")
    assert refusal(onnx.parser.parse_model(text)) == (
        "node 'c' (local.act): function 'local.act' has 1 operands and 1 results, the call has 2 "
        "and 1"
    )


def test_functions_that_unfold_without_bound_are_refused(monkeypatch):
    monkeypatch.setattr(scope, "_MAX_NODES", 1_000)
    functions = [
        helper.make_function(
            "local",
            f"f{level}",
            ["a"],
            ["b"],
            [
                helper.make_node(f"f{level + 1}", ["a"], ["t"], domain="local"),
                helper.make_node(f"f{level + 1}", ["t"], ["b"], domain="local"),
            ]
            if level < 40
            else [helper.make_node("Relu", ["a"], ["b"])],
            [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)],
        )
        for level in range(41)
    ]
    proto = model("g (float[1] x) => (y) { y = local.f0(x) }", domains={"local": 1})
    proto.functions.extend(functions)
    assert refusal(proto) == ("the model unfolds into more than 1000 nodes; npubench stops here")


def _chain(length: int) -> onnx.ModelProto:
    proto = model("g (float[1] x) => (y) { y = local.f0(x) }", domains={"local": 1})
    for level in range(length):
        last = level == length - 1
        call = helper.make_node("Relu" if last else f"f{level + 1}", ["a"], ["b"])
        call.domain = "" if last else "local"
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        proto.functions.append(
            helper.make_function("local", f"f{level}", ["a"], ["b"], [call], opsets)
        )
    return proto


def test_functions_nested_too_deep_are_refused():
    assert [n.op for n in read(_chain(48)).nodes] == ["Relu"]
    assert refusal(_chain(49)) == "bodies and functions are nested more than 48 levels deep"


def test_bodies_as_deep_as_a_file_can_hold_are_read():
    """protobuf nests a hundred messages, a body takes three of them."""
    proto = model("g (float[1] x, bool c) => (y) { y = Relu(x) }")
    flat = onnx.GraphProto()
    flat.CopyFrom(proto.graph)
    del flat.input[:]
    for _ in range(28):
        inner = onnx.GraphProto()
        inner.CopyFrom(proto.graph)
        del inner.input[:]
        del proto.graph.node[:]
        proto.graph.node.append(
            helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=flat)
        )
    graph = read(proto)
    depth = 0
    while graph.nodes[0].op == "If":
        graph, depth = body(graph.nodes[0], "then_branch"), depth + 1
    assert depth == 28


BRANCH = """g (float[4] x, bool c) => (y) <float[4] w, bool no = {{0}}> {{
    k = Neg(x)
    y = If ({condition}) <
        then_branch = t () => (q) {{ q = Add(k, w) }},
        else_branch = e () => (q) {{ q = Concat <axis = 0> (k, w) }}
    >
}}"""


def test_a_branch_that_is_settled_is_inlined():
    graph = read(BRANCH.format(condition="no"))
    assert lines(graph) == [
        ("k", "Neg", ("x",), ("k",)),
        ("y/q", "Concat", ("k", "w"), ("y",)),
    ]
    assert shapes(graph) == {"y": (8,)}


def test_both_branches_stay_where_data_decides():
    graph = read(BRANCH.format(condition="c"))
    assert lines(graph)[-1] == ("y", "If", ("c",), ("y",))
    then, other = (body(graph.nodes[-1], f"{name}_branch") for name in ("then", "else"))
    assert [n.op for n in then.nodes] == ["Add"]
    assert then.nodes[0].inputs == ("k", "w")
    assert then.values["k"].shape == (4,)
    assert then.weights == ("w",)
    assert then.outputs == ("y/then_branch/q",)
    assert [n.op for n in other.nodes] == ["Concat"]
    assert graph.weights == ("w",)
    assert shapes(graph) == {"y": (8,)}
    assert graph.assumptions == ("node 'y' (If): 'y' is [4] or [8], taken as [8]",)


LOOP = """g (float[4] x, int64 m) => (y, rows) <float[4] w, int64 n = {{5}}, bool yes = {{1}}> {{
    [walk] y, rows = Loop ({operands}, x) <
        body = b (int64 i, bool go, float[4] v) => (on, next, row) {{
            on = {condition}
            next = Mul(v, w)
            row = Neg(next)
        }}
    >
}}"""


@pytest.mark.parametrize("operands", ["n, yes", "n, "])
def test_a_loop_of_known_length(operands):
    graph = read(LOOP.format(operands=operands, condition="Identity(go)"))
    (loop,) = graph.nodes
    assert loop.op == "Loop"
    assert loop.attributes["npubench.trips"] == 5
    inner = body(loop)
    assert [n.op for n in inner.nodes] == ["Mul", "Neg"]
    assert [inner.values[n].shape for n in inner.inputs] == [(), (), (4,)]
    assert [inner.values[n].shape for n in inner.outputs] == [(), (4,), (4,)]
    assert "w" in inner.weights
    assert shapes(graph) == {"y": (4,), "rows": (5, 4)}


@pytest.mark.parametrize(
    ("operands", "condition", "most"),
    [
        (", yes", "Identity(go)", ""),
        ("m, yes", "Identity(go)", ""),
        ("n, yes", "Less(i, m)", ", 5 at most"),
    ],
)
def test_a_loop_of_unknown_length_asks(operands, condition, most):
    text = LOOP.format(operands=operands, condition=condition)
    assert refusal(text) == (
        f"node 'walk' (Loop): how often it runs is decided at run time{most}: "
        "give --dim walk.trips=N"
    )
    for graph in (read(text, {"walk.trips": 3}), read(text, trips={"walk": 3})):
        assert graph.nodes[0].attributes["npubench.trips"] == 3
        assert shapes(graph) == {"y": (4,), "rows": (3, 4)}


def test_trip_counts_that_cannot_be():
    known = LOOP.format(operands="n, yes", condition="Identity(go)")
    bounded = LOOP.format(operands="n, yes", condition="Less(i, m)")
    assert refusal(known, {"walk.trips": 3}) == "node 'walk' (Loop) runs 5 times by the file, not 3"
    assert refusal(bounded, {"walk.trips": 6}) == "node 'walk' (Loop) runs 5 times at most, not 6"
    assert refusal(bounded, trips={"walk": -1}) == "loop 'walk' cannot run -1 times"
    assert refusal(bounded, trips={"wlak": 1}) == "no loop is named 'wlak'\n  did you mean 'walk'?"
    assert refusal(bounded, {"wlak.trips": 1}) == (
        "--dim wlak.trips: no dimension of that name\n  did you mean 'walk.trips'?"
    )


def test_a_loop_that_never_starts():
    text = LOOP.format(operands="n, no", condition="Identity(go)").replace(
        "bool yes = {1}", "bool no = {0}"
    )
    graph = read(text)
    assert graph.nodes[0].attributes["npubench.trips"] == 0
    assert shapes(graph) == {"y": (4,), "rows": (0, 4)}


GROWING = """g (float[1, 4] x) => (y) <int64 n = {{{trips}}}, bool yes = {{1}}> {{
    y = Loop (n, yes, x) <
        body = b (int64 i, bool go, v) => (on, next) {{
            on = Identity(go)
            next = Concat <axis = 0> (v, x)
        }}
    >
}}"""


def test_a_short_loop_whose_shapes_grow_is_unrolled_and_said():
    graph = read(GROWING.format(trips=3))
    assert [n.op for n in graph.nodes] == ["Concat"] * 3
    assert [graph.values[n].shape for n in graph.outputs] == [(4, 4)]
    assert graph.assumptions == ("node 'y' (Loop) unrolled, since shapes change from trip to trip",)


def test_a_long_loop_whose_shapes_grow_is_refused():
    assert refusal(GROWING.format(trips=1000)) == (
        "node 'y' (Loop): 'v' is [1, 4] before the first trip and [2, 4] after it; a shape that "
        "changes from trip to trip has no single cost\n"
        "  export the model with the loop unrolled or with a buffer of fixed size"
    )


SCAN = """g (float[4] s, float[3, 10, 4] xs) => (last, rows) {
    last, rows = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
        body = b (float[4] state, float[3, 4] x) => (next, row) {
            total = ReduceSum <keepdims = 0> (x, axis)
            next = Add(state, total)
            row = Identity(next)
        }> (s, xs)
}"""


def test_a_scan_runs_along_its_axis():
    proto = model(SCAN)
    inner = next(a.g for a in proto.graph.node[0].attribute if a.name == "body")
    inner.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "axis"))
    graph = read(proto)
    (scan,) = graph.nodes
    assert scan.attributes["npubench.trips"] == 10
    assert [body(scan).values[n].shape for n in body(scan).inputs] == [(4,), (3, 4)]
    assert shapes(graph) == {"last": (4,), "rows": (4, 10)}


def test_the_scan_of_opset_8_is_refused():
    assert refusal(model(SCAN, opset=8)) == (
        "node 'last' (Scan): the Scan of opset 8 is not read\n"
        "  convert the model to opset 9 or newer with onnx.version_converter"
    )


def test_malformed_control_flow_is_refused():
    loop = model(LOOP.format(operands="n, yes", condition="Identity(go)"))
    del loop.graph.node[0].attribute[:]
    assert refusal(loop) == "node 'walk' (Loop) has no body 'body'"
    loop = model(LOOP.format(operands="n, yes", condition="Identity(go)"))
    del loop.graph.node[0].input[2]
    assert refusal(loop) == ("node 'walk' (Loop): its body takes 3 values, the loop carries 0")
    branch = model(BRANCH.format(condition="c"))
    branch.graph.node[1].input.append("x")
    assert refusal(branch) == "node 'y' (If): an If has one operand, its condition"


def test_a_captured_value_that_is_made_later_puts_the_body_behind_it():
    graph = read(
        """g (float[4] x, bool c) => (y) {
            y = If (c) <then_branch = t () => (q) { q = Abs(k) },
                        else_branch = e () => (q) { q = Identity(k) }>
            k = Neg(x)
        }"""
    )
    assert [n.op for n in graph.nodes] == ["Neg", "If"]
