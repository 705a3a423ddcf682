"""The shipped networks: what each is, where its definition comes from, and how it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cifar
import convolutional
import digits
import handmade
import transformer
from torch_export import Export

TORCHVISION = "definition: torchvision 0.28"
TRANSFORMERS = "definition: transformers 5.23"
WRITTEN = "definition: written in workloads/make"
BSD = "BSD-3-Clause (torchvision's definition)"
APACHE = "Apache-2.0 (transformers' definition)"
OWN = "the project's own"
USUAL = "usual CIFAR form, normalisation folded; 32 x 32"


@dataclass(frozen=True)
class Omitted:
    """A part of the published network that the file leaves out."""

    what: str
    params: int
    macs: int


@dataclass(frozen=True)
class Network:
    """One entry of the catalog.

    Attributes:
        make: builds the model and counts it.
        reference: net and input of its row in tests/workloads/network-sizes.csv.
    """

    name: str
    make: Callable[[], Export]
    variant: str
    source: str
    licence: str
    reference: tuple[str, str]
    aliases: tuple[str, ...] = ()
    omitted: tuple[Omitted, ...] = ()


def _cifar(name: str, make: Callable[[str], Export], variant: str, paper: str) -> Network:
    net, _, classes = name.rpartition("_cifar")
    return Network(
        name,
        partial(make, name),
        f"{variant}, {classes} classes: {USUAL}",
        f"{paper}; form of the networks of Balaskas et al., IEEE ESL 16(4), 2024; {WRITTEN}",
        OWN,
        (f"{net} (CIFAR-{classes})", "1x3x32x32"),
    )


RESNET = "He et al. 2015, arXiv:1512.03385"
VGG = "Simonyan and Zisserman 2014, arXiv:1409.1556"
CIFAR = (
    _cifar(
        "resnet18_cifar10",
        lambda name: cifar.resnet((2, 2, 2, 2), 10, name),
        "ResNet-18 with a 3 x 3 stem of stride 1",
        RESNET,
    ),
    _cifar(
        "resnet34_cifar10",
        lambda name: cifar.resnet((3, 4, 6, 3), 10, name),
        "ResNet-34 with a 3 x 3 stem of stride 1",
        RESNET,
    ),
    _cifar(
        "vgg11_cifar10",
        lambda name: cifar.vgg(11, 10, name),
        "VGG-11 with batch normalisation and one linear layer",
        VGG,
    ),
    _cifar(
        "vgg13_cifar10",
        lambda name: cifar.vgg(13, 10, name),
        "VGG-13 with batch normalisation and one linear layer",
        VGG,
    ),
    _cifar(
        "vgg19_cifar10",
        lambda name: cifar.vgg(19, 10, name),
        "VGG-19 with batch normalisation and one linear layer",
        VGG,
    ),
    _cifar(
        "vgg16_cifar100",
        lambda name: cifar.vgg(16, 100, name),
        "VGG-16 with batch normalisation and one linear layer",
        VGG,
    ),
    _cifar(
        "resnet50_cifar100",
        lambda name: cifar.resnet((3, 4, 6, 3), 100, name, bottleneck=True),
        "ResNet-50 with a 3 x 3 stem of stride 1",
        RESNET,
    ),
    _cifar(
        "mobilenet_v1_cifar100",
        lambda name: cifar.mobilenet_v1(100, name),
        "MobileNet with a stem of stride 1",
        "Howard et al. 2017, arXiv:1704.04861",
    ),
    _cifar(
        "mobilenet_v2_cifar100",
        lambda name: cifar.mobilenet_v2(100, name),
        "MobileNetV2 with a stem of stride 1",
        "Sandler et al. 2018, arXiv:1801.04381",
    ),
)

NETWORKS = (
    Network(
        "alexnet",
        convolutional.alexnet,
        "torchvision's AlexNet: one tower, no groups, no response normalisation; 224 x 224",
        f"Krizhevsky 2014, arXiv:1404.5997; {TORCHVISION}",
        BSD,
        ("alexnet", "1x3x224x224"),
    ),
    Network(
        "alexnet_bvlc",
        handmade.alexnet_bvlc,
        "the original AlexNet as in the BVLC model: two groups in conv2, conv4, conv5, response "
        "normalisation; 227 x 227",
        f"Krizhevsky et al., NIPS 2012, and the BVLC reference model; {WRITTEN}",
        OWN,
        ("alexnet (original, grouped)", "1x3x227x227"),
        aliases=("alexnet_original", "alexnet_grouped"),
    ),
    Network(
        "vgg16",
        convolutional.vgg16,
        "VGG-16 (configuration D) without batch normalisation; 224 x 224",
        f"Simonyan and Zisserman 2014, arXiv:1409.1556; {TORCHVISION}",
        BSD,
        ("vgg16", "1x3x224x224"),
    ),
    Network(
        "resnet18",
        convolutional.resnet18,
        "ResNet-18, batch normalisation folded; 224 x 224",
        f"He et al. 2015, arXiv:1512.03385; {TORCHVISION}",
        BSD,
        ("resnet18", "1x3x224x224"),
    ),
    Network(
        "resnet50",
        convolutional.resnet50,
        "ResNet-50 v1.5 (stride in the 3x3 convolution), batch normalisation folded; 224 x 224",
        f"He et al. 2015, arXiv:1512.03385; {TORCHVISION}",
        BSD,
        ("resnet50", "1x3x224x224"),
        aliases=("resnet50_v15", "resnet50_v1_5"),
    ),
    Network(
        "resnet50_v1",
        convolutional.resnet50_v1,
        "ResNet-50 of the paper (stride in the first 1x1 convolution), batch normalisation "
        "folded; 224 x 224; the variant HAWQ-V3 counts",
        f"He et al. 2015, arXiv:1512.03385; {TORCHVISION}, strides moved",
        BSD,
        ("resnet50 (v1)", "1x3x224x224"),
    ),
    Network(
        "mobilenet_v2",
        convolutional.mobilenet_v2,
        "MobileNetV2, width 1.0, batch normalisation folded; 224 x 224",
        f"Sandler et al. 2018, arXiv:1801.04381; {TORCHVISION}",
        BSD,
        ("mobilenetv2", "1x3x224x224"),
        aliases=("mobilenetv2",),
    ),
    Network(
        "googlenet",
        convolutional.googlenet,
        "GoogLeNet with batch normalisation (folded) and a 3x3 convolution in the 5x5 branch, "
        "inference only (no auxiliary classifiers); 224 x 224",
        f"Szegedy et al. 2014, arXiv:1409.4842; {TORCHVISION}",
        BSD,
        ("googlenet", "1x3x224x224"),
    ),
    Network(
        "inception_v3",
        convolutional.inception_v3,
        "Inception-v3, batch normalisation folded, inference only; 299 x 299",
        f"Szegedy et al. 2015, arXiv:1512.00567; {TORCHVISION}",
        BSD,
        ("inceptionv3", "1x3x299x299"),
        aliases=("inceptionv3",),
        omitted=(Omitted("auxiliary classifier, used in training only", 3326696, 0),),
    ),
    Network(
        "yolov3",
        convolutional.yolov3,
        "YOLOv3 (Darknet-53, three detection maps, 80 classes) without box decoding, batch "
        "normalisation folded; 416 x 416",
        f"Redmon and Farhadi 2018, arXiv:1804.02767; {WRITTEN}",
        OWN,
        ("yolov3", "1x3x416x416"),
    ),
    Network(
        "bert_base",
        transformer.bert_base,
        "BERT-base uncased with pooler, no task head; 384 tokens",
        f"Devlin et al. 2018, arXiv:1810.04805; {TRANSFORMERS}",
        APACHE,
        ("bert-base", "1x384"),
        aliases=("bert",),
    ),
    Network(
        "bert_large",
        transformer.bert_large,
        "BERT-large uncased with pooler, no task head; 384 tokens",
        f"Devlin et al. 2018, arXiv:1810.04805; {TRANSFORMERS}",
        APACHE,
        ("bert-large", "1x384"),
    ),
    Network(
        "vit_b16",
        transformer.vit_b16,
        "ViT-B/16 with a 1000-class head; 224 x 224, 197 tokens",
        f"Dosovitskiy et al. 2020, arXiv:2010.11929; {TRANSFORMERS}",
        APACHE,
        ("vit-b16", "1x3x224x224"),
        aliases=("vit",),
    ),
    Network(
        "gpt2_prefill",
        transformer.gpt2_prefill,
        "GPT-2 (124 M) with its tied output head at every position: a prompt of 128 tokens, "
        "causal mask added to full scores, keys and values go out",
        f"Radford et al. 2019, Language Models are Unsupervised Multitask Learners; {TRANSFORMERS}",
        APACHE,
        ("gpt2", "1x128"),
        aliases=("gpt2",),
    ),
    Network(
        "gpt2_decode",
        transformer.gpt2_decode,
        "GPT-2 (124 M) with its tied output head: one token after 127 others, whose keys and "
        "values come in as past.* and go out with the new ones as present.*",
        f"Radford et al. 2019, Language Models are Unsupervised Multitask Learners; {TRANSFORMERS}",
        APACHE,
        ("gpt2 (decode)", "1x1, 127 past"),
    ),
    Network(
        "rnnt_encoder",
        handmade.rnnt_encoder,
        "the encoder of MLPerf's RNN-T: 2 LSTM layers, time stacked by 2, 3 LSTM layers, hidden "
        "1024; 400 frames of 240 features (12 s of speech); no prediction and joint network",
        f"Graves 2012, arXiv:1211.3711; sizes of the MLPerf Inference RNN-T model; {WRITTEN}",
        OWN,
        ("rnnt-encoder", "400x1x240"),
        aliases=("rnnt",),
    ),
    Network(
        "digits_cnn",
        digits.digits_cnn,
        "two 3x3 convolutions and a fully connected layer, with trained weights; 8 x 8",
        f"trained by workloads/make/digits.py on the training part of `digits`; {WRITTEN}",
        f"{OWN}; trained on CC-BY-4.0 data",
        ("digits_cnn", "1x1x8x8"),
    ),
    *CIFAR,
)
