"""The field's terms, as the choices that commands, cards and results share."""

from __future__ import annotations

from enum import Enum

NOTICE = "Research use only. Not a medical device; not for diagnosis."
"""What every report and every ONNX file says of itself."""

INPUT_NAME, OUTPUT_NAME = "image", "logits"
"""Names of a graph's input, uint8 images, and of its output, float32 logits."""


class Split(str, Enum):
    """What an image is used for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class JudgedOn(str, Enum):
    """The images that steps of a quantization are judged on."""

    VALIDATION = "validation"
    CALIBRATION = "calibration"


class SplitBy(str, Enum):
    """What is kept whole when images are split."""

    PATIENT = "patient"
    IMAGE = "image"


class ProtocolName(str, Enum):
    """The paper's three data sets."""

    CXR_A = "cxr-a"
    CXR_B = "cxr-b"
    CXR_C = "cxr-c"


class Augmentation(str, Enum):
    """How far training images are varied."""

    NONE = "none"
    LIGHT = "light"


class FeatureCache(str, Enum):
    """Whether features of frozen blocks are kept while training, and in which number format."""

    OFF = "off"
    FP16 = "fp16"
    BF16 = "bf16"
    FP32 = "fp32"


class Dialect(str, Enum):
    """How INT8 is written down in ONNX.

    ``cpu``: uint8 activations with a zero point, int8 weights, int32 biases; the fast kernels of
    CPU runtimes. ``tensorrt``: int8 activations and weights, zero point 0, float biases, weights
    quantized from FP32 initializers; what every TensorRT from 8.5 on accepts.
    """

    CPU = "cpu"
    TENSORRT = "tensorrt"


class RangeMethod(str, Enum):
    """How the range of an activation follows from the values it took on calibration images.

    ``minmax``: nothing is clipped. ``percentile``: a fixed share of the values is. ``entropy``: as
    little information as possible is lost (TensorRT's calibrator). ``mse``: the mean squared
    rounding and clipping error is least.
    """

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"


class Precision(str, Enum):
    """Number format of weights and activations."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


class Scenario(str, Enum):
    """How queries arrive, in MLPerf Inference's terms.

    ``single-stream``: one image after the other. ``multi-stream``: eight images a query.
    ``offline``: as many a second as the machine can, in batches of 16.
    """

    SINGLE_STREAM = "single-stream"
    MULTI_STREAM = "multi-stream"
    OFFLINE = "offline"


class MemoryChoice(str, Enum):
    """How images reach a GPU: copied from page-locked memory, or read by the GPU where they are.

    ``both`` measures the first and times the two in turn besides.
    """

    PINNED = "pinned"
    MAPPED = "mapped"
    BOTH = "both"


class HarnessChoice(str, Enum):
    """Who sends the queries: MLPerf's LoadGen where it is installed, or a loop of our own."""

    AUTO = "auto"
    LOADGEN = "loadgen"
    BUILTIN = "builtin"


class TrainingPrecision(str, Enum):
    """Number format while training, in Lightning Fabric's terms."""

    FP32 = "32-true"
    BF16_MIXED = "bf16-mixed"


class Effort(str, Enum):
    """How much a quantization tries.

    ``quick``: min-max ranges and corrected biases. ``default``: the best of three ranges, equalised
    channels, corrected weights, and a few layers in float where validation images ask for it.
    ``extensive``: all ranges, more images, for TensorRT centred activations, and up to half of the
    layers in float.
    """

    QUICK = "quick"
    DEFAULT = "default"
    EXTENSIVE = "extensive"


class Correction(str, Enum):
    """What makes up for quantization in each layer."""

    NONE = "none"
    BIASES = "biases"
    WEIGHTS = "weights"
