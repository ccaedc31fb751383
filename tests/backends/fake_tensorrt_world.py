"""State that the fake builder and runtime share: settings of a test, objects, tensors."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from tests.backends.fake_cuda import FakeGpu


class World:
    """Settings and observations of one test.

    Attributes:
        version: As in the names file; ``rtx`` for TensorRT for RTX.
        gpu: Where engines run.
        seen: What was asked of the builder and the runtime, by name.
        parser_code: Name of the code of its errors.
        parser_says: (node index, description) of the parser's errors.
        builder_says: (severity, text) that a build logs.
        loader_says: (severity, text) that loading logs.
        build_fails, load_fails, run_fails, profile_fails: Whether these come to nothing.
        has_driver, has_int8: Whether a builder can be made, and the GPU has INT8 hardware.
    """

    def __init__(self, version: str, gpu: FakeGpu) -> None:
        self.version, self.gpu = version, gpu
        self.seen: dict[str, Any] = {}
        self.parser_code = "INTERNAL_ERROR"
        self.parser_says: list[tuple[int, str]] = []
        self.builder_says: list[tuple[str, str]] = []
        self.loader_says: list[tuple[str, str]] = []
        self.build_fails = self.load_fails = self.run_fails = self.profile_fails = False
        self.has_driver = self.has_int8 = True
        self.profile_shapes: list[tuple[Any, ...]] = []

    @property
    def number(self) -> str:
        return "1.7.1.116" if self.version == "rtx" else self.version


def make(world: World, one: str, **private: Any) -> Any:
    """Return an object of a class, with private values."""
    made = object.__new__(getattr(world.trt, one))
    for name, value in private.items():
        object.__setattr__(made, name, value)
    return made


def tensor(network: Any, value: Any) -> Any:
    world = network._world
    kinds = {TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.UINT8: "UINT8",
             TensorProto.INT8: "INT8", TensorProto.INT32: "INT32"}  # fmt: skip
    kind = kinds.get(value.type.tensor_type.elem_type, "INT32")
    dims = value.type.tensor_type.shape.dim
    shape = tuple(d.dim_value or -1 for d in dims)
    return make(world, "ITensor", _name=value.name, _shape=shape,
                _dtype=getattr(world.trt.DataType, kind))  # fmt: skip


def _of(name: str) -> property:
    return property(lambda self: getattr(self, name))


TENSORS: dict[str, dict[str, Any]] = {
    "ITensor": {"name": _of("_name"), "shape": _of("_shape"), "dtype": _of("_dtype")},
}
