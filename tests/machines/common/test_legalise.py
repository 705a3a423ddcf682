"""Legalisation: the narrowest native pair that holds the request, by brute force over all pairs."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.errors import MappingError
from npubench.ir import FORMATS, LayerPrecision, PrecisionPlan, parse_network, parse_precision
from npubench.machines.common.legalise import legalise
from tests.depth import examples

NETWORK = parse_network(
    """
    input x fp32[4]
    weight w fp32[4]
    mac a MatMul (x w) -> p fp32[4] : K4
    vector r Relu activation (p) -> q fp32[4] : alu=4
    mac b MatMul (q w) -> s fp32[4] : K4
    mac c MatMul (s w) -> t fp32[4] : K4
    output t
    """
)
NAMES = [name for name in FORMATS if name not in ("string", "uint64", "int64")]
PAIRS = st.builds(
    LayerPrecision, st.sampled_from(NAMES).map(FORMATS.get), st.sampled_from(NAMES).map(FORMATS.get)
)
W8A8, W4A4 = parse_precision("w8a8"), parse_precision("w4a4")


def pair(weight: str, activation: str | None = None) -> LayerPrecision:
    return LayerPrecision(FORMATS[weight], FORMATS[activation or weight])


@given(PAIRS, st.lists(PAIRS, min_size=1, max_size=6))
@settings(max_examples=examples(300), deadline=None)
def test_the_narrowest_pair_that_holds_the_request(
    wanted: LayerPrecision, native: list[LayerPrecision]
) -> None:
    fitting = [
        p for p in native if p.weight.holds(wanted.weight) and p.activation.holds(wanted.activation)
    ]
    plan = PrecisionPlan(wanted)
    if not fitting:
        with pytest.raises(MappingError):
            legalise(NETWORK, plan, native, native[0], "npu")
        return
    found = legalise(NETWORK, plan, native, native[0], "npu")
    least = min(p.weight.bits + p.activation.bits for p in fitting)
    for name in ("a", "b", "c"):
        got = found.executed.of(name)
        assert got in fitting
        assert got.weight.bits + got.activation.bits == least
    assert found.requested is plan


@pytest.mark.parametrize(("weight", "activation"), list(product(NAMES[:10], NAMES[:10])))
def test_a_native_pair_is_kept(weight: str, activation: str) -> None:
    wanted = pair(weight, activation)
    found = legalise(NETWORK, PrecisionPlan(wanted), [pair("fp64"), wanted], W8A8, "npu")
    executed = found.executed.of("a")
    assert executed.weight.holds(wanted.weight)
    bits = executed.weight.bits + executed.activation.bits
    assert bits <= wanted.weight.bits + wanted.activation.bits


def test_layer_by_layer() -> None:
    plan = PrecisionPlan(W8A8, {"b": parse_precision("w3a5"), "c": pair("uint8")}, source="a file")
    found = legalise(NETWORK, plan, [W4A4, W8A8], W4A4, "npu")
    assert {n: str(found.executed.of(n)) for n in "abc"} == dict.fromkeys("abc", "w8a8")
    assert found.widened == ("b",)
    assert found.executed.source == "a file"
    assert set(found.executed.layers) == {"a", "b", "c"}


def test_nothing_asked_for_runs_the_default() -> None:
    found = legalise(NETWORK, None, [W4A4, W8A8], W8A8, "npu")
    assert found.requested == PrecisionPlan(W8A8, source="default of npu")
    assert {str(found.executed.of(n)) for n in "abc"} == {"w8a8"}
    assert found.widened == ()


def test_every_precision_without_a_home_is_named() -> None:
    plan = PrecisionPlan(pair("fp32"), {"b": pair("int12", "int8")})
    with pytest.raises(MappingError) as caught:
        legalise(NETWORK, plan, [W4A4, W8A8], W8A8, "npu")
    assert str(caught.value) == (
        "'npu' has no format that holds fp32 (layer 'a' and 1 more)\n"
        "  it executes w4a4, w8a8: ask for one of these, or for less\n"
        "'npu' has no format that holds w12a8 (layer 'b')\n"
        "  it executes w4a4, w8a8: ask for one of these, or for less"
    )
