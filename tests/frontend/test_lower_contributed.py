"""onnxruntime's own operators: shapes by execution where its CPU can, work by hand."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from npubench.ir import LoopNest
from tests.frontend.lower_models import lower, mac_layer, moves, run, single, values, vectors

MICROSOFT = "com.microsoft"
SCALE = np.array(0.5, np.float32)
U8, I8 = np.array(0, np.uint8), np.array(0, np.int8)
MULTI_HEAD = {"domain": MICROSOFT, "num_heads": 2}


def test_gemm_with_gelu() -> None:
    operands = [("a", values(2, 5, 8)), ("b", values(8, 6)), ("bias", values(6))]
    model, _ = single("GemmFastGelu", operands, ["b", "bias"], domain=MICROSOFT)
    network = lower(model).network
    assert network.macs == 2 * 5 * 8 * 6
    assert mac_layer(network).bias == "bias"
    (gelu,) = vectors(network)
    assert (gelu.alu_ops, gelu.special_ops) == (6 * 60, 60)


def test_quantised_gemm() -> None:
    operands = [
        *(("a", values(5, 4, dtype=np.uint8)), ("as", SCALE), ("az", U8)),
        *(("b", values(3, 4, dtype=np.int8)), ("bs", SCALE), ("bz", I8)),
        *(("c", values(3, dtype=np.int32)), ("ys", SCALE), ("yz", U8)),
    ]
    held = [n for n, _ in operands if n != "a"]
    model, fed = single(
        "QGemm", operands, held, domain=MICROSOFT, output_type=TensorProto.UINT8, transB=1
    )
    loaded = lower(model)
    network = loaded.network
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert network.macs == 5 * 4 * 3
    assert mac_layer(network).bias == "c"
    assert vectors(network)[0].alu_ops == 3 * 15
    assert loaded.plan is not None
    assert loaded.plan.describe() == "1 x w8a8"


def test_integer_product_to_float() -> None:
    operands = [
        *(("a", values(5, 4, dtype=np.uint8)), ("b", values(4, 3, dtype=np.int8))),
        *(("as", SCALE), ("bs", SCALE), ("az", U8), ("bz", I8), ("bias", values(3))),
    ]
    held = [n for n, _ in operands if n != "a"]
    model, fed = single("MatMulIntegerToFloat", operands, held, domain=MICROSOFT)
    network = lower(model).network
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert network.macs == 5 * 4 * 3
    assert vectors(network)[0].alu_ops == 2 * 15


def test_channels_last_convolution() -> None:
    """Data [B, Y, X, C] and weights [K, FY, FX, C]."""
    operands = [("x", values(1, 6, 7, 4)), ("w", values(8, 3, 2, 2))]
    model, _ = single("NhwcConv", operands, ["w"], domain=MICROSOFT, group=2)
    network = lower(model).network
    assert network.tensors["y"].shape == (1, 4, 6, 8)
    assert mac_layer(network).nest == LoopNest(
        G=2, K=4, C=2, OY=4, OX=6, FY=3, FX=2, input_extent=(1, 6, 7)
    )
    assert network.tensors["x"].axes == ("B", "Y", "X", "C")


def test_fused_matmul_moves_its_batch_axis() -> None:
    """A is [rows, batch, depth]: the first axis goes between the batch and the depth."""
    model, fed = single(
        "FusedMatMul",
        [("a", values(5, 2, 3)), ("b", values(2, 3, 4))],
        domain=MICROSOFT,
        transBatchA=1,
    )
    network = lower(model).network
    assert network.tensors["y"].shape == run(model, fed)[0].shape == (2, 5, 4)
    assert mac_layer(network).nest == LoopNest(G=2, OX=5, C=3, K=4, input_extent=(1, 1, 5))


def test_packed_attention_with_a_cache() -> None:
    """Three old positions and five new ones; the cache holds keys and values together."""
    operands = [
        *(("x", values(2, 5, 8)), ("w", values(8, 24)), ("b", values(24)), None),
        ("past", values(2, 2, 2, 3, 4)),
    ]
    model, fed = single(
        "Attention", operands, ["w", "b"], ["y", "present"], unidirectional=1, **MULTI_HEAD
    )
    network = lower(model).network
    shapes = [array.shape for array in run(model, fed)]
    assert [network.tensors[name].shape for name in ("y", "present")] == shapes
    assert network.macs == 2 * 5 * 8 * 24 + 2 * (2 * 2 * 5 * 8 * 4)
    assert [m.elements for m in moves(network)] == [0, 2 * 2 * 2 * 8 * 4]
    assert network.mac_layers[1].approximation.startswith("causal attention counted")


def test_multi_head_attention_on_packed_operands() -> None:
    whole, _ = single("MultiHeadAttention", [("qkv", values(2, 5, 2, 3, 4))], **MULTI_HEAD)
    assert lower(whole).network.macs == 2 * (2 * 2 * 5 * 5 * 4)
    pair = [("q", values(2, 5, 8)), ("kv", values(2, 7, 2, 2, 4))]
    partly, _ = single("MultiHeadAttention", pair, **MULTI_HEAD)
    network = lower(partly).network
    assert network.macs == 2 * (2 * 2 * 5 * 7 * 4)
    assert network.tensors["y"].shape == (2, 5, 8)


def test_group_query_attention_without_packing() -> None:
    operands = [
        *(("q", values(1, 3, 32)), ("k", values(1, 3, 16)), ("v", values(1, 3, 16))),
        *(None, None, ("lengths", np.array([2], np.int32)), ("total", np.array(3, np.int32))),
    ]
    model, _ = single(
        "GroupQueryAttention",
        operands,
        ["total"],
        domain=MICROSOFT,
        num_heads=4,
        kv_num_heads=2,
        local_window_size=2,
    )
    network = lower(model).network
    assert network.macs == 2 * 4 * 3 * 3 * 8
    assert network.mac_layers[0].approximation == (
        "causal attention counted as the full square of positions; "
        "windowed attention counted over all positions"
    )


def test_quantised_elementwise() -> None:
    x = values(2, 6, dtype=np.uint8)
    operands = [
        *(("a", x), ("as", SCALE), ("az", U8), ("b", x), ("bs", SCALE), ("bz", U8)),
        *(("ys", SCALE), ("yz", U8)),
    ]
    held = [n for n, _ in operands if n not in ("a", "b")]
    model, fed = single(
        "QLinearAdd", operands, held, domain=MICROSOFT, output_type=TensorProto.UINT8
    )
    network = lower(model).network
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert vectors(network)[0].alu_ops == (1 + 3) * 12


def test_bias_and_activation() -> None:
    model, fed = single(
        "BiasGelu", [("x", values(2, 6)), ("b", values(6))], ["b"], domain=MICROSOFT
    )
    network = lower(model).network
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert (vectors(network)[0].alu_ops, vectors(network)[0].special_ops) == (4 * 12, 12)


def test_embedding_and_normalisation() -> None:
    """Rows of three tables summed (2), normalised (7); 3 and a root for each of 10 positions."""
    operands = [
        *(("ids", np.zeros((2, 5), np.int32)), ("segments", np.zeros((2, 5), np.int32))),
        *(("words", values(30, 8)), ("places", values(9, 8)), ("kinds", values(2, 8))),
        *(("g", values(8)), ("b", values(8))),
    ]
    held = [n for n, _ in operands if n not in ("ids", "segments")]
    model, fed = single("EmbedLayerNormalization", operands, held, ["y", "mask"], domain=MICROSOFT)
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT32
    network = lower(model).network
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    (layer,) = vectors(network)
    assert (layer.alu_ops, layer.special_ops) == (9 * 80 + 30, 10)
    assert network.parameters == 8 * (30 + 9 + 2 + 2)
