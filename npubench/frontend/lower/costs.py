"""What an element costs on a vector unit, for every operator of element work: the tables.

Each entry is (alu, special) per element. An *alu* operation is an addition, multiplication,
comparison, selection or bit operation. A *special* operation is one evaluation of a function that
a vector unit computes by table or iteration: exponential, logarithm, reciprocal or division,
root, power, error function, or a trigonometric or hyperbolic one. The counts follow the
definition of the operator with constants folded; they belong to this program, not to a machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from npubench.errors import ModelError, Problem, did_you_mean

__all__ = [
    "ACTIVATIONS",
    "BINARY",
    "DYNAMIC_QUANTISE",
    "MICROSOFT",
    "NORMALIZATIONS",
    "QONNX",
    "REDUCTIONS",
    "REQUANTISE",
    "ROTATE",
    "SOFTMAX_ELEMENT",
    "SOFTMAX_ROW",
    "UNARY",
    "VARIADIC",
    "Work",
    "activation_work",
]

MICROSOFT = "com.microsoft"
# QONNX kept its first home's name in files of the Brevitas exporter.
QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general", "finn")

Work = tuple[int, int]

# Scale, round with the zero point added, clip to the range.
REQUANTISE = 3
# Minimum and maximum of the tensor, then the quantisation itself.
DYNAMIC_QUANTISE = 2 + REQUANTISE

ACTIVATIONS: Mapping[str, Work] = {
    "Relu": (1, 0),  # max(x, 0)
    "LeakyRelu": (2, 0),  # a*x, select
    "PRelu": (2, 0),
    "ThresholdedRelu": (2, 0),  # compare, select
    "Clip": (2, 0),  # min, max
    "HardSigmoid": (4, 0),  # a*x + b, min, max
    "HardSwish": (5, 0),  # x * HardSigmoid(x)
    "Shrink": (4, 0),  # two compares, bias, select
    "Sigmoid": (2, 1),  # 0.5 + 0.5*tanh(x/2), the halving within the table's index
    "Tanh": (0, 1),
    "ScaledTanh": (2, 1),  # a*tanh(b*x)
    "Affine": (2, 0),  # a*x + b
    "Softsign": (2, 1),  # |x|, +1, x/(...)
    "Softplus": (1, 2),  # log(1 + exp(x))
    "Elu": (3, 1),  # exp(x) - 1, a*(...), select
    "Celu": (4, 1),  # as Elu with x/a
    "Selu": (4, 1),  # as Elu, times gamma
    "Gelu": (3, 1),  # 0.5*x * (1 + erf(x/sqrt(2)))
    "FastGelu": (6, 1),  # 0.5*x * (1 + tanh(x*(a + b*x*x)))
    "QuickGelu": (4, 1),  # x * sigmoid(a*x)
    "BiasGelu": (4, 1),
    "Swish": (3, 1),  # x * sigmoid(x)
    "Silu": (3, 1),
    "Mish": (2, 3),  # x * tanh(log(1 + exp(x)))
}

UNARY: Mapping[str, Work] = {
    "Abs": (1, 0),
    "Neg": (1, 0),
    "Sign": (2, 0),  # two compares
    "Not": (1, 0),
    "BitwiseNot": (1, 0),
    "Floor": (1, 0),
    "Ceil": (1, 0),
    "Round": (1, 0),
    "IsNaN": (1, 0),
    "IsInf": (1, 0),
    "Reciprocal": (0, 1),
    "Sqrt": (0, 1),
    "Exp": (0, 1),
    "Log": (0, 1),
    "Erf": (0, 1),
    **dict.fromkeys(("Sin", "Cos", "Tan", "Asin", "Acos", "Atan"), (0, 1)),
    **dict.fromkeys(("Sinh", "Cosh", "Asinh", "Acosh", "Atanh"), (0, 1)),
    "Binarizer": (1, 0),
    "Bernoulli": (3, 0),  # one step of a linear generator (multiply, add), compare
    "RandomNormalLike": (2, 2),  # two generator steps through log and cosine (Box-Muller)
    "RandomUniformLike": (4, 0),  # generator step, scale, offset
    "RandomNormal": (2, 2),
    "RandomUniform": (4, 0),
    "Scaler": (2, 0),
    "Imputer": (2, 0),
}

BINARY: Mapping[str, Work] = {
    **dict.fromkeys(("Add", "Sub", "Mul"), (1, 0)),
    "Div": (0, 1),
    "Pow": (0, 1),
    "Mod": (2, 1),  # quotient, multiply, subtract
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), (1, 0)),
    **dict.fromkeys(("And", "Or", "Xor"), (1, 0)),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"), (1, 0)),
    "Where": (1, 0),
    "BiasAdd": (2, 0),  # data, bias and a residual
    "SwiGLU": (4, 1),  # Swish of one operand, times the other
}

# Per element of the result and per operand after the first.
VARIADIC: Mapping[str, Work] = dict.fromkeys(("Sum", "Max", "Min", "Mean"), (1, 0))

# Per element read, then per element written.
REDUCTIONS: Mapping[str, tuple[Work, Work]] = {
    "ReduceSum": ((1, 0), (0, 0)),
    "ReduceMean": ((1, 0), (1, 0)),
    "ReduceMax": ((1, 0), (0, 0)),
    "ReduceMin": ((1, 0), (0, 0)),
    "ReduceProd": ((1, 0), (0, 0)),
    "ReduceL1": ((2, 0), (0, 0)),  # |x|, add
    "ReduceL2": ((2, 0), (0, 1)),  # square, add; root
    "ReduceSumSquare": ((2, 0), (0, 0)),
    "ReduceLogSum": ((1, 0), (0, 1)),
    "ReduceLogSumExp": ((3, 1), (1, 1)),  # max, subtract, exp, add; log, add the max
    "ArgMax": ((2, 0), (0, 0)),  # compare, keep the index
    "ArgMin": ((2, 0), (0, 0)),
}


# Softmax per element: compare for the maximum, subtract, exponential, add, multiply; per row the
# reciprocal of the sum.
SOFTMAX_ELEMENT: Work = (4, 1)
SOFTMAX_ROW: Work = (0, 1)

# Rotary embedding per element: two multiplications and one addition.
ROTATE: Work = (3, 0)

# Normalisations: per element, then per group of elements normalised together.
NORMALIZATIONS: Mapping[str, tuple[Work, Work]] = {
    # Statistics are constants: one multiplication and one addition.
    "BatchNormalization": ((2, 0), (0, 0)),
    # Sum of three embeddings, then a layer normalisation.
    "EmbedLayerNormalization": ((9, 0), (3, 1)),
    # Sum; difference, square, sum; multiply by 1/deviation; scale, bias. Per group: mean,
    # variance, epsilon, inverse root.
    "LayerNormalization": ((7, 0), (3, 1)),
    "InstanceNormalization": ((7, 0), (3, 1)),
    "GroupNormalization": ((7, 0), (3, 1)),
    "GroupNorm": ((7, 0), (3, 1)),
    "MeanVarianceNormalization": ((5, 0), (3, 1)),
    # Square, sum; multiply, scale. Per group: mean, epsilon, inverse root.
    "RMSNormalization": ((4, 0), (2, 1)),
    "SimplifiedLayerNormalization": ((4, 0), (2, 1)),
    # As above, after the sum of two tensors.
    "SkipLayerNormalization": ((8, 0), (3, 1)),
    "SkipSimplifiedLayerNormalization": ((5, 0), (2, 1)),
    # Square (or modulus), sum, multiply; root and reciprocal per group.
    "LpNormalization": ((3, 0), (0, 2)),
    "Normalizer": ((3, 0), (0, 2)),
    "Softmax": (SOFTMAX_ELEMENT, SOFTMAX_ROW),
    "BiasSoftmax": ((5, 1), SOFTMAX_ROW),
    # Compare, subtract, exponential, add, subtract; logarithm per row.
    "LogSoftmax": ((4, 1), (0, 1)),
    # Compare for the maximum, compare with it.
    "Hardmax": ((2, 0), (0, 0)),
}


def activation_work(name: str) -> Work:
    """Work per element of an activation function named by an attribute, in any case.

    Raises:
        ModelError: no table knows the function.
    """
    folded = {known.lower(): work for known, work in ACTIVATIONS.items()}
    if name.lower() not in folded:
        hint = did_you_mean(name, ACTIVATIONS)
        raise ModelError(Problem(f"unknown activation function '{name}'", hint=hint))
    return folded[name.lower()]
