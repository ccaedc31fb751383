"""Enumerations and constants that commands, cards and results share."""

from __future__ import annotations

from enum import Enum

NOTICE = "Research use only. Not a medical device; not for diagnosis."
"""Notice in every report and ONNX file."""

INPUT_NAME, OUTPUT_NAME = "image", "logits"
"""Names of a graph's input (uint8 images) and output (float32 logits)."""
DISTANCE_NAME, MAPS_NAME = "distance", "maps"
"""Names of a graph's optional outputs: the distance of each image from the training images, float32
(N,), and the class activation maps, float32 (N, classes, height, width)."""


class Split(str, Enum):
    """Part of a data set.

    ``control``: X-rays that show none of the classes; no network is trained on them.
    """

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    CONTROL = "control"


CLASS_SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)
"""The splits whose images have a class."""


class JudgedOn(str, Enum):
    """Images on which quantization steps are evaluated."""

    VALIDATION = "validation"
    CALIBRATION = "calibration"


class SplitBy(str, Enum):
    """Unit of splitting: images of one unit stay in one split."""

    PATIENT = "patient"
    IMAGE = "image"


class PatientFrom(str, Enum):
    """Source of the patients of a data set.

    ``header``: the PatientID of DICOM files. ``name``: file names. ``folder``: the folder below the
    class folder. ``csv``: a table. ``image``: every image counts as a patient of its own.
    """

    HEADER = "header"
    NAME = "name"
    FOLDER = "folder"
    CSV = "csv"
    IMAGE = "image"


class ProtocolName(str, Enum):
    """The paper's three data sets, CXR B with adults, and Kermany's official split."""

    CXR_A = "cxr-a"
    CXR_B = "cxr-b"
    CXR_C = "cxr-c"
    CXR_D = "cxr-d"
    KERMANY = "kermany"


class RecipeName(str, Enum):
    """Preset of the training options."""

    PAPER = "paper"
    """Block freezing as in the paper."""
    ROBUST = "robust"
    """For X-rays from other hospitals than those of the training images."""


class Geometry(str, Enum):
    """Range of rotation, shift, zoom and exposure of augmented images."""

    LIGHT = "light"
    STRONG = "strong"


class BalanceBy(str, Enum):
    """What gets the same weight in the training loss."""

    CLASS = "class"
    SOURCE = "source"
    """Each class, and each source within a class."""


class Augmentation(str, Enum):
    """Augmentation of training images; each kind includes those before it."""

    NONE = "none"
    LIGHT = "light"
    """Geometry and exposure, as between two X-rays of one chest."""
    SOURCES = "sources"
    """Processing of files, as between archives."""


class FeatureCache(str, Enum):
    """Number format of cached features of frozen blocks; ``off`` caches none."""

    OFF = "off"
    FP16 = "fp16"
    BF16 = "bf16"
    FP32 = "fp32"


class Dialect(str, Enum):
    """Representation of INT8 in ONNX.

    ``cpu``: uint8 activations with a zero point, int8 weights and int32 biases, for the fast
    kernels of CPU runtimes. ``tensorrt``: int8 activations and weights with zero point 0, float
    biases, and weights quantized from FP32 initializers, for TensorRT 8.5 and newer.
    """

    CPU = "cpu"
    TENSORRT = "tensorrt"


class RangeMethod(str, Enum):
    """Method that derives the range of an activation from its values on calibration images.

    ``minmax``: clips no value. ``percentile``: clips a fixed share of the values. ``entropy``:
    minimises the loss of information (TensorRT's calibrator). ``mse``: minimises the mean squared
    error of rounding and clipping.
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
    """Arrival of queries, in MLPerf Inference's terms.

    ``single-stream``: one image after the other. ``multi-stream``: eight images per query.
    ``offline``: all images at once, in batches of 16.
    """

    SINGLE_STREAM = "single-stream"
    MULTI_STREAM = "multi-stream"
    OFFLINE = "offline"


class MemoryChoice(str, Enum):
    """Transfer of images to a GPU.

    ``pinned``: copied from page-locked memory. ``mapped``: read by the GPU from host memory.
    ``both``: measures ``pinned``, and times both in turn.
    """

    PINNED = "pinned"
    MAPPED = "mapped"
    BOTH = "both"


class TritonBackend(str, Enum):
    """Backend of NVIDIA Triton that runs a bundle's network."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


class TritonDevice(str, Enum):
    """Device of the instances of a model in NVIDIA Triton."""

    CPU = "cpu"
    GPU = "gpu"


class HarnessChoice(str, Enum):
    """Sender of the queries: MLPerf LoadGen, or the built-in loop."""

    AUTO = "auto"
    LOADGEN = "loadgen"
    BUILTIN = "builtin"


class Accelerator(str, Enum):
    """Kind of processor to train on, in Lightning Fabric's terms."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class TrainingPrecision(str, Enum):
    """Number format in training, in Lightning Fabric's terms."""

    FP32 = "32-true"
    BF16_MIXED = "bf16-mixed"


class Tracker(str, Enum):
    """Program that a training is logged to; also the name of its extra."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"


class Engine(str, Enum):
    """What runs a prediction: this process, or a cluster."""

    LOCAL = "local"
    RAY = "ray"


class Effort(str, Enum):
    """Extent of the search for a quantization.

    ``quick``: min-max ranges and corrected biases. ``default``: the best of three range methods,
    equalised channels, corrected weights, and a few layers in float if validation images require
    it. ``extensive``: all range methods, more images, centred activations for TensorRT, and up to
    half of the layers in float.
    """

    QUICK = "quick"
    DEFAULT = "default"
    EXTENSIVE = "extensive"


class Correction(str, Enum):
    """Correction of quantization errors in each layer."""

    NONE = "none"
    BIASES = "biases"
    WEIGHTS = "weights"
