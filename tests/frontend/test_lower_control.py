"""If, Loop and Scan: bodies in line, multiplied by their trips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tests.frontend.lower_models import body, lower, make_model, run, values

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _loop(trips: int, extra: Sequence[object] = ()) -> ModelProto:
    """h <- h x w, ``trips`` times, every h kept."""
    nodes = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node("MatMul", ["h", "w"], ["next"], name="step"),
        helper.make_node("Identity", ["next"], ["kept"]),
    ]
    graph = body(
        nodes,
        [("i", INT64, []), ("go", BOOL, []), ("h", FLOAT, [2, 4])],
        [("go_on", BOOL), ("next", FLOAT), ("kept", FLOAT)],
    )
    loop = helper.make_node("Loop", ["count", "", "x"], ["y", "all"], name="loop", body=graph)
    held = {"count": np.array(trips), "w": values(4, 4)}
    return make_model([loop, *extra], {"x": values(2, 4)}, held, ["y", "all"])


def test_loop_counts_its_body_as_often_as_it_runs() -> None:
    model = _loop(7)
    network = lower(model).network
    (step,) = network.mac_layers
    assert (step.name, step.trips) == ("loop/step", 7)
    assert network.macs == 7 * 2 * 4 * 4
    assert step.approximation == "body counted 7 times"
    assert network.parameters == 16
    shapes = [array.shape for array in run(model, {"x": values(2, 4)})]
    assert [network.tensors[name].shape for name in ("y", "all")] == shapes
    kept = network.producers["all"]
    assert kept.elements == 7 * 2 * 4


def test_loop_that_never_runs() -> None:
    network = lower(_loop(0)).network
    assert network.macs == 0
    assert network.tensors["all"].shape == (0, 2, 4)


def test_loops_in_loops_multiply() -> None:
    inner = body(
        [
            helper.make_node("Identity", ["go2"], ["go2_on"]),
            helper.make_node("MatMul", ["h2", "w"], ["n2"], name="step"),
        ],
        [("j", INT64, []), ("go2", BOOL, []), ("h2", FLOAT, [2, 4])],
        [("go2_on", BOOL), ("n2", FLOAT)],
    )
    outer = body(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Loop", ["three", "", "h"], ["n"], name="inner", body=inner),
        ],
        [("i", INT64, []), ("go", BOOL, []), ("h", FLOAT, [2, 4])],
        [("go_on", BOOL), ("n", FLOAT)],
    )
    loop = helper.make_node("Loop", ["five", "", "x"], ["y"], name="outer", body=outer)
    held = {"three": np.array(3), "five": np.array(5), "w": values(4, 4)}
    network = lower(make_model([loop], {"x": values(2, 4)}, held, ["y"])).network
    (step,) = network.mac_layers
    assert step.trips == 15
    assert step.approximation == "body counted 3 times; body counted 5 times"
    assert network.macs == 15 * 2 * 4 * 4


def test_a_held_initial_value_is_copied() -> None:
    """The carried value changes from trip to trip, so it cannot be the constant itself."""
    model = _loop(3)
    model.graph.initializer.append(helper.make_tensor("start", FLOAT, [2, 4], [0.0] * 8))
    model.graph.node[0].input[2] = "start"
    network = lower(model).network
    (step,) = network.mac_layers
    assert step.weight == "w"
    assert network.producers[step.data].elements == 8


def test_scan_reads_slices_in_place() -> None:
    """A running product over six rows."""
    graph = body(
        [
            helper.make_node("Add", ["h", "row"], ["sum"]),
            helper.make_node("MatMul", ["sum", "w"], ["next"], name="step"),
            helper.make_node("Identity", ["next"], ["kept"]),
        ],
        [("h", FLOAT, [2, 4]), ("row", FLOAT, [2, 4])],
        [("next", FLOAT), ("kept", FLOAT)],
    )
    scan = helper.make_node(
        "Scan", ["start", "rows"], ["last", "all"], name="scan", num_scan_inputs=1, body=graph
    )
    fed = {"start": values(2, 4), "rows": values(6, 2, 4)}
    model = make_model([scan], fed, {"w": values(4, 4)}, ["last", "all"])
    network = lower(model).network
    assert network.macs == 6 * 2 * 4 * 4
    shapes = [array.shape for array in run(model, fed)]
    assert [network.tensors[name].shape for name in ("last", "all")] == shapes
    assert network.producers["all"].elements == 6 * 8


def _branches(then: Sequence[object], other: Sequence[object]) -> ModelProto:
    graphs = {
        f"{name}_branch": body(nodes, [], [(f"{name}_y", FLOAT)])
        for name, nodes in (("then", then), ("else", other))
    }
    node = helper.make_node("If", ["flag"], ["y"], name="choice", **graphs)
    fed = {"flag": np.ones((), np.bool_), "x": values(2, 4)}
    return make_model([node], fed, {"w": values(4, 4)}, ["y"])


def _product(name: str) -> object:
    return helper.make_node("MatMul", ["x", "w"], [f"{name}_y"], name="product")


def test_if_counts_the_branch_with_more_products() -> None:
    other = [helper.make_node("Identity", ["x"], ["then_y"])]
    network = lower(_branches(other, [_product("else")])).network
    assert network.macs == 2 * 4 * 4
    note = "'else_branch' of 'choice' counted, the one with more work"
    assert network.mac_layers[0].approximation == note
    assert [layer.op for layer in network.layers] == ["MatMul", "If"]


def test_if_counts_more_vector_work_among_equals() -> None:
    heavy = [
        helper.make_node("Sigmoid", ["x"], ["s"]),
        helper.make_node("Relu", ["s"], ["then_y"]),
    ]
    light = [helper.make_node("Relu", ["x"], ["else_y"])]
    network = lower(_branches(heavy, light)).network
    assert [layer.op for layer in network.layers] == ["Sigmoid", "Relu", "If"]


def test_if_in_a_loop_keeps_both_notes() -> None:
    graphs = {
        "then_branch": body([_product_of("h", "t")], [], [("t", FLOAT)]),
        "else_branch": body([helper.make_node("Relu", ["h"], ["e"])], [], [("e", FLOAT)]),
    }
    outer = body(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("If", ["flag"], ["n"], name="choice", **graphs),
        ],
        [("i", INT64, []), ("go", BOOL, []), ("h", FLOAT, [2, 4])],
        [("go_on", BOOL), ("n", FLOAT)],
    )
    loop = helper.make_node("Loop", ["five", "", "x"], ["y"], name="outer", body=outer)
    fed = {"x": values(2, 4), "flag": np.ones((), np.bool_)}
    model = make_model([loop], fed, {"five": np.array(5), "w": values(4, 4)}, ["y"])
    (product,) = lower(model).network.mac_layers
    assert product.trips == 5
    assert product.approximation == (
        "body counted 5 times; 'then_branch' of 'outer/choice' counted, the one with more work"
    )


def _product_of(source: str, result: str) -> object:
    return helper.make_node("MatMul", [source, "w"], [result], name="product")
