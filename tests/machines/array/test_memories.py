"""Instances and words of a memory level."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from npubench.errors import InputError
from npubench.ir import LoopNest, parse_network
from npubench.machines.array.cost import cost_network
from npubench.machines.array.mapping import map_network
from npubench.machines.array.silicon import areas_mm2
from npubench.machines.array.spec import ArraySpec, MemorySpec
from npubench.machines.protocol import Objective
from npubench.machines.registry import build_machine
from npubench.specs.catalog import find_spec
from npubench.specs.quantity import Quantity
from tests.depth import examples
from tests.machines.array.bills import changed, check, costed, lane
from tests.machines.array.test_search import network_of, tiny_spec


def with_words(spec: ArraySpec, words: dict[str, int]) -> ArraySpec:
    memories = tuple(
        memory.model_copy(update={"word_width": Quantity(float(words[memory.name]), "capacity")})
        if memory.name in words
        else memory
        for memory in spec.memories
    )
    return spec.model_copy(update={"memories": memories})


def cut_up(memory: MemorySpec, instances: int) -> MemorySpec:
    """The same memory as so many equal ones."""
    assert memory.capacity is not None
    assert memory.port_width is not None
    return memory.model_copy(
        update={
            "instances": Quantity(float(instances), "dimensionless"),
            "capacity": replace(memory.capacity, value=memory.capacity.value / instances),
            "port_width": replace(memory.port_width, value=memory.port_width.value / instances),
        }
    )


@settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
@given(
    nest=st.builds(LoopNest, B=st.integers(1, 3), K=st.integers(1, 4), C=st.integers(1, 4)),
    room=st.integers(16, 60),
    sums=st.sampled_from([4, 6, 64]),
    words=st.fixed_dictionaries(
        {
            "accumulators": st.sampled_from([7, 12, 24, 40, 48, 64]),
            "buffer": st.sampled_from([5, 9, 12, 20, 24, 64]),
        }
    ),
    serial=st.sampled_from([(), ("accumulators",), ("buffer",)]),
)
def test_words_are_moved_whole(
    nest: LoopNest, room: int, sums: int, words: dict[str, int], serial: tuple[str, ...]
) -> None:
    check(with_words(changed(tiny_spec(room, sums), serial), words), nest, most=300)


@pytest.mark.parametrize(
    ("word", "bits", "taken"),
    [(64, 8, 8), (64, 5, 8), (60, 5, 5), (48, 7, 8), (64, 33, 64), (64, 65, 128), (7, 8, 14)],
)
def test_an_element_takes_a_lane_or_whole_words(word: int, bits: int, taken: int) -> None:
    memory = with_words(tiny_spec(64, 8), {"buffer": word}).memories[1]
    assert memory.name == "buffer"
    assert memory.lane_bits(bits) == lane(memory, bits) == taken


def test_elements_take_the_room_of_their_lanes() -> None:
    # 48 elements of 8 bits in lanes of 12 take 72 B, without words 48 B.
    nest = LoopNest(B=4, K=4, C=4)  # 16 inputs, 16 weights, 16 outputs
    for room, whole in ((72, True), (71, False)):
        spec = with_words(tiny_spec(room, 64), {"buffer": 12})
        layer = costed(spec, network_of(nest), Objective.ENERGY).layers[0]
        assert (layer.off_chip_bytes == 48) is whole
    assert (
        costed(tiny_spec(48, 64), network_of(nest), Objective.ENERGY).layers[0].off_chip_bytes == 48
    )


@pytest.mark.parametrize("name", ["edge8", "gemmini"])
def test_instances_multiply_what_each_has(name: str) -> None:
    spec = find_spec(name).validate(ArraySpec)
    fmt = spec.array.formats[spec.array.default_format].activation
    network = parse_network(
        f"network one\ninput x {fmt}[1,64,14,14]\nweight w {fmt}[64,64,3,3]\n"
        f"mac conv Conv (x w) -> y {fmt}[1,64,14,14] : "
        "K64 C64 OY14 OX14 FY3 FX3 pad=0,1,1 in=1,14,14\noutput y\n"
    )
    plan = build_machine(find_spec(name)).legalise(network, None).executed
    memories = tuple(m if m.off_chip else cut_up(m, 4) for m in spec.memories)
    parts = spec.model_copy(update={"memories": memories})
    first, second = (
        cost_network(one, network, plan, map_network(one, network, plan)).layers
        for one in (spec, parts)
    )
    assert first == second
    assert areas_mm2(spec) == areas_mm2(parts)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("memories.lpddr4.instances", "2", "give the rate of all channels off chip"),
        ("memories.lpddr4.word_width", "64 bit", "word_width: only of a memory on chip"),
        ("memories.buffer.word_width", "0 bit", "a word has at least 1 bit"),
        ("memories.buffer.instances", "0", "memories.buffer.instances"),
        ("memories.buffer.instances", "1.5", "memories.buffer.instances"),
        ("memories.buffer.word_width", "64", "memories.buffer.word_width"),
        ("memories.lpddr4.uneven", "true", "'uneven' of 'lpddr4'"),
        ("memories.accumulators.uneven", "true", "with another one further in"),
    ],
)
def test_nonsense_is_refused(path: str, value: str, message: str) -> None:
    document = find_spec("edge8").override(path, value, f"--set {path}={value}")
    with pytest.raises(InputError) as caught:
        document.validate(ArraySpec)
    assert message in str(caught.value)
