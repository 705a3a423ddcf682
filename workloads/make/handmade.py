"""Networks written node by node: the original AlexNet and a recurrent encoder."""

from __future__ import annotations

from builder import Builder
from torch_export import Export


def alexnet_bvlc() -> Export:
    """Krizhevsky's AlexNet as in the BVLC model: 227 x 227, two groups in conv2, conv4, conv5.

    The order is convolution, ReLU, response normalisation, pooling. Caffe and ONNX define the
    normalisation alike: alpha is divided by the size.
    """
    b = Builder("alexnet_bvlc")
    norm = {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    x = b.input("image", [1, 3, 227, 227])
    x = b.node("Relu", "relu1", [b.conv("conv1", x, (96, 3, 11, 11), 55, stride=4)])
    x = b.node("MaxPool", "pool1", [b.node("LRN", "norm1", [x], **norm)], **pool)
    x = b.node("Relu", "relu2", [b.conv("conv2", x, (256, 48, 5, 5), 27, pad=2, group=2)])
    x = b.node("MaxPool", "pool2", [b.node("LRN", "norm2", [x], **norm)], **pool)
    x = b.node("Relu", "relu3", [b.conv("conv3", x, (384, 256, 3, 3), 13, pad=1)])
    x = b.node("Relu", "relu4", [b.conv("conv4", x, (384, 192, 3, 3), 13, pad=1, group=2)])
    x = b.node("Relu", "relu5", [b.conv("conv5", x, (256, 192, 3, 3), 13, pad=1, group=2)])
    x = b.node("Flatten", "flatten", [b.node("MaxPool", "pool5", [x], **pool)])
    x = b.node("Relu", "relu6", [b.linear("fc6", x, 256 * 6 * 6, 4096)])
    x = b.node("Relu", "relu7", [b.linear("fc7", x, 4096, 4096)])
    model = b.build(b.linear("fc8", x, 4096, 1000), "logits", [1, 1000])
    return Export(model, b.params, b.macs)


def rnnt_encoder(frames: int = 400, features: int = 240, hidden: int = 1024) -> Export:
    """The encoder of MLPerf's RNN-T: 2 LSTM layers, pairs of frames joined, 3 LSTM layers.

    A frame is 240 features, 3 spliced frames of 80 log-mel features, one each 30 ms; 400 frames
    are 12 s of speech, near the mean utterance of LibriSpeech.
    """
    b = Builder("rnnt_encoder")
    x = b.input("features", [frames, 1, features])
    x = b.lstm("pre_rnn.0", x, frames, features, hidden)
    x = b.lstm("pre_rnn.1", x, frames, hidden, hidden)
    # With batch 1, [T, 1, H] -> [T/2, 1, 2H] puts each pair of frames side by side.
    half = frames // 2
    x = b.reshape("stack_time", x, [half, 1, 2 * hidden])
    x = b.lstm("post_rnn.0", x, half, 2 * hidden, hidden)
    x = b.lstm("post_rnn.1", x, half, hidden, hidden)
    x = b.lstm("post_rnn.2", x, half, hidden, hidden)
    return Export(b.build(x, "encoded", [half, 1, hidden]), b.params, b.macs)
