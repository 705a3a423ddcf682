"""A small trained classifier and its test set, both from scikit-learn's bundled digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from builder import Builder
from onnx import ModelProto, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch_export import SEED, Accuracy, Export

NAME = "digits"
FILE = "digits.npz"
CALIBRATION_IMAGES = 128
EPOCHS = 40
BATCH = 64


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, test images and labels; images [n, 1, 8, 8], grey 0 to 1."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    train, test, train_labels, test_labels = train_test_split(
        images, digits.target.astype(np.int64), test_size=0.25, random_state=SEED
    )
    return train, train_labels, test, test_labels


def write_dataset(folder: Path) -> dict[str, Any]:
    """Write the held-out images, and some of the training images for calibration."""
    train, _, test, labels = split()
    path = folder / FILE
    np.savez_compressed(path, images=test, labels=labels, calibration=train[:CALIBRATION_IMAGES])
    return {
        "name": NAME,
        "file": f"{folder.name}/{FILE}",
        "content": "images (450 held-out, float32 [n, 1, 8, 8], 0 to 1), labels (int64), "
        "calibration (128 training images)",
        "classes": 10,
        "images": len(test),
        "source": "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine "
        "Learning Repository 1998, as bundled with scikit-learn; train_test_split "
        f"with test_size=0.25, random_state={SEED}",
        "licence": "CC-BY-4.0",
    }


def digits_cnn() -> Export:
    """Train two 3x3 convolutions and a fully connected layer; the model keeps its weights."""
    train, train_labels, test, test_labels = split()
    module = _train(torch.from_numpy(train), torch.from_numpy(train_labels))

    b = Builder("digits_cnn")
    x = b.input("image", [1, 1, 8, 8])
    x = b.node("Relu", "relu1", [b.conv("conv1", x, (16, 1, 3, 3), 8, pad=1)])
    x = b.node("Relu", "relu2", [b.conv("conv2", x, (32, 16, 3, 3), 8, pad=1)])
    x = b.node("MaxPool", "pool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = b.linear("fc", b.node("Flatten", "flatten", [x]), 32 * 4 * 4, 10)
    model = b.build(x, "logits", [1, 10])
    _fill(model, {name: value.numpy() for name, value in module.state_dict().items()})

    session = onnxruntime.InferenceSession(model.SerializeToString())
    correct = sum(
        int(session.run(None, {"image": image[None]})[0].argmax() == label)
        for image, label in zip(test, test_labels, strict=True)
    )
    return Export(model, b.params, b.macs, accuracy=Accuracy(NAME, correct, len(test)))


class _DigitsCnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc(torch.flatten(torch.max_pool2d(x, 2), 1))


def _train(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    # One thread: the order of floating-point sums must not depend on the machine's load.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    module = _DigitsCnn()
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    torch.set_num_threads(threads)
    return module


def _fill(model: ModelProto, values: dict[str, np.ndarray]) -> None:
    """Move the weights from the inputs into the file."""
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    data = [value for value in model.graph.input if value.name not in values]
    del model.graph.input[:], model.metadata_props[:]
    model.graph.input.extend(data)
