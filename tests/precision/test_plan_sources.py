"""Plans by name and by file: what they say, and every mistake in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from npubench.errors import InputError
from npubench.ir import LayerPrecision, Network, PrecisionPlan, Scheme, integer, parse_network
from npubench.precision.sources import check_precision, find_plan

NETWORK = """\
network toy
input x fp32[1,8]
weight w1 fp32[4,8]
mac block.fc1 Gemm (x w1) -> y fp32[1,4] : K4 C8
weight w2 fp32[4,4]
mac block.fc2 Gemm (y w2) -> z fp32[1,4] : K4 C4
weight w3 fp32[2,4]
mac head Gemm (z w3) -> h fp32[1,2] : K2 C4
output h
"""


@pytest.fixture(scope="module")
def network() -> Network:
    return parse_network(NETWORK)


def _width(weight: int, activation: int) -> LayerPrecision:
    return LayerPrecision(integer(weight), integer(activation))


def _read(tmp_path: Path, text: str, network: Network) -> PrecisionPlan:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return find_plan(str(path), network, None)


def _refusal(tmp_path: Path, text: str, network: Network) -> str:
    with pytest.raises(InputError) as caught:
        _read(tmp_path, text, network)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_uniform_and_model(network: Network) -> None:
    own = PrecisionPlan(_width(2, 3))
    assert find_plan("w4a8", network, None).of("head") == _width(4, 8)
    assert find_plan("model", network, own) is own


def test_a_model_without_annotations_has_no_plan(network: Network) -> None:
    with pytest.raises(InputError) as caught:
        find_plan("model", network, None)
    assert str(caught.value) == "--precision model: the model 'toy' states no precision"


def test_names_come_before_patterns_and_later_patterns_before_earlier(
    tmp_path: Path, network: Network
) -> None:
    text = 'default: w8a8\nlayers:\n  block.fc1: w2a2\n  "block.*": w4a4\n  "*2": w3a3\n'
    plan = _read(tmp_path, text, network)
    assert [str(plan.of(n)) for n in ("block.fc1", "block.fc2", "head")] == ["w2a2", "w3a3", "w8a8"]
    assert plan.source == "plan.yaml"


def test_schemes_inherit_field_by_field(tmp_path: Path, network: Network) -> None:
    text = (
        "default: w8a8\nsource: mine\nscheme: {per_channel: false}\n"
        "layers:\n  block.fc1: {accumulator_bits: 16}\n  head: {precision: fp32}\n"
        '  "block.*": {symmetric_activations: true}\n'
    )
    plan = _read(tmp_path, text, network)
    base = Scheme(per_channel=False)
    assert plan.scheme_of("head") == base
    assert plan.scheme_of("block.fc2") == Scheme(per_channel=False, symmetric_activations=True)
    assert plan.scheme_of("block.fc1") == Scheme(
        per_channel=False, symmetric_activations=True, accumulator_bits=16
    )
    assert (str(plan.of("head")), plan.source) == ("fp32", "plan.yaml: mine")


def test_every_mistake_of_form_at_once(tmp_path: Path, network: Network) -> None:
    text = "defualt: w8a8\nlayers:\n  head: w0a8\n  block.fc1: {accumulator_bits: 1}\n"
    assert _refusal(tmp_path, text, network) == (
        "plan.yaml:1:1: missing key 'default'\n"
        "plan.yaml:1:1: unknown key 'defualt'\n"
        "  did you mean 'default'?   allowed: default, layers, network, scheme, source\n"
        "plan.yaml:3:9: layers.head: precision 'w0a8': widths go from 1 to 32 bits\n"
        "plan.yaml:4:33: layers.block.fc1.accumulator_bits: must be at least 2, got '1'"
    )


def test_every_name_the_network_lacks_at_once(tmp_path: Path, network: Network) -> None:
    text = 'network: tye\ndefault: w8a8\nlayers:\n  block.fc3: w4a4\n  "conv*": w4a4\n'
    assert _refusal(tmp_path, text, network) == (
        "plan.yaml:1:10: network: this plan is for 'tye', not for 'toy'\n"
        "plan.yaml:4:3: layers: no layer 'block.fc3' with multiply-accumulates\n"
        "  did you mean 'block.fc2'?\n"
        "plan.yaml:5:3: layers: pattern 'conv*' fits no layer with multiply-accumulates\n"
        "  known: block.fc1, block.fc2, head"
    )


def test_a_published_plan_of_another_network(network: Network) -> None:
    with pytest.raises(InputError) as caught:
        find_plan("hawq_bops_0.5", network, None)
    assert str(caught.value) == (
        "--precision hawq_bops_0.5: it sets 21 layers, 'toy' has 3 with multiply-accumulates\n"
        "  it is for resnet18"
    )


def test_an_unknown_setting(network: Network) -> None:
    with pytest.raises(InputError) as caught:
        find_plan("hawq_latency_0.6", network, None)
    assert str(caught.value) == (
        "--precision hawq_latency_0.6: no such published setting\n"
        "  did you mean 'hawq_latency_0.5'?"
    )


@pytest.mark.parametrize("text", ["w4a4", "bf16", "model", "hawq-latency-0.5", "plan.yaml"])
def test_texts_that_may_stand_for_a_plan(text: str) -> None:
    check_precision(text)


def test_texts_that_cannot() -> None:
    with pytest.raises(InputError, match="unknown precision 'w8'"):
        check_precision("w8")
