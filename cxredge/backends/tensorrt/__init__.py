"""TensorRT 8.5 to 11 and TensorRT for RTX: one way to build and to run, through explicit Q/DQ.

Names that not every version has are asked for with :meth:`Api.has` in an ``if``; a test reads this
package's code and proves for each version that no other name is reached.
"""

from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.facts import EngineFacts
from cxredge.backends.tensorrt.session import SessionOptions, TensorRTSession, Transfer
from cxredge.backends.tensorrt.settings import EngineConfig, LegacyCalibration, Typing

__all__ = [
    "EngineConfig",
    "EngineFacts",
    "LegacyCalibration",
    "SessionOptions",
    "TensorRTSession",
    "Transfer",
    "Typing",
    "build_engine",
]
