"""From a torch module to a skeleton, with its parameters and MACs counted in torch.

torchvision is installed without its compiled part (`pip install --no-deps`), so the two operators
that it registers fakes for have to be declared before it, or anything that looks for it, is
imported. Import this module first.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto
from onnxscript.optimizer import optimize_ir
from skeleton import LARGEST_CONSTANT, OPSET, strip_weights, weight_elements
from torch import nn
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

_SCHEMAS = torch.library.Library("torchvision", "DEF")
for _op in ("nms", "qnms"):
    _SCHEMAS.define(f"{_op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

warnings.filterwarnings("ignore", category=FutureWarning)
logging.getLogger("onnxscript").setLevel(logging.ERROR)
SEED = 0
TOLERANCE = 1e-3
"""Largest difference to torch, relative to the largest value of the output."""


@dataclass(frozen=True)
class Accuracy:
    """Pictures of a data set, by name, that onnxruntime classified correctly."""

    dataset: str
    correct: int
    images: int


@dataclass(frozen=True)
class Export:
    """A skeleton and what torch says about the module it came from.

    Attributes:
        model: the skeleton.
        params: elements of all parameters of the module, a shared one counted once.
        macs: of one forward pass, half of torch's FLOP count (matrix products and convolutions).
        folded_params: what is gone because batch normalisation was folded: scale and shift of
            each channel became one bias.
        accuracy: of a model that carries its weights.
    """

    model: ModelProto
    params: int
    macs: int
    folded_params: int = 0
    accuracy: Accuracy | None = None


def export(
    module: nn.Module,
    inputs: dict[str, torch.Tensor],
    outputs: Sequence[str],
    *,
    prefixes: Sequence[str] = (),
) -> Export:
    """Export a module in inference mode with static shapes.

    Args:
        module: the network; its parameters are overwritten with seeded noise, because the
            exporter merges equal tensors and drops zeros.
        inputs: data inputs by name, passed by position.
        outputs: names of the outputs.
        prefixes: of module names, removed from them one after the other.

    Raises:
        ValueError: the parameters of module and skeleton do not add up, or the skeleton with its
            weights fed back computes something else than the module.
    """
    module.eval()
    randomise(module)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        expected = module(*inputs.values())
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamo=True,
        opset_version=OPSET,
        optimize=False,
        verbose=False,
    )
    # The exporter's own optimisation without its wish to store attention masks as constants.
    optimize_ir(program.model, output_size_limit=LARGEST_CONSTANT)
    parameters = {name: value.detach().numpy() for name, value in module.named_parameters()}
    model, weights = strip_weights(program.model_proto, parameters, prefixes)
    params = sum(value.size for value in parameters.values())
    folded = sum(m.num_features for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    if weight_elements(model) + folded != params:
        raise ValueError(
            f"{params} parameters in torch, {weight_elements(model)} in the skeleton, "
            f"{folded} folded"
        )
    _compare(model, weights, inputs, expected)
    return Export(model, params, counter.get_total_flops() // 2, folded)


def noise(*shape: int) -> torch.Tensor:
    """Seeded normal noise."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def randomise(module: nn.Module) -> None:
    """Fill parameters and batch-norm statistics with seeded noise that keeps values in range."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in module.parameters():
            bound = (6 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.uniform_(-bound, bound, generator=generator)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.0, generator=generator)
                layer.running_mean.uniform_(-0.1, 0.1, generator=generator)
                layer.running_var.uniform_(0.5, 1.5, generator=generator)


def _compare(
    model: ModelProto,
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, torch.Tensor],
    expected: Any,
) -> None:
    """Run the skeleton in onnxruntime and compare every output with torch's."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {name: value.numpy() for name, value in inputs.items()} | dict(weights)
    tensors, _ = tree_flatten(expected)
    results = session.run(None, feeds)
    for output, result, tensor in zip(model.graph.output, results, tensors, strict=True):
        difference = float(np.abs(result - tensor.numpy()).max())
        largest = float(tensor.abs().max())
        if not difference <= TOLERANCE * largest:
            raise ValueError(f"{output.name} differs by {difference} of {largest}")
