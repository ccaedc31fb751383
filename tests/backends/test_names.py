"""Every name of TensorRT that the code uses exists in every version, or is guarded.

The code is read, not run: for each version the branches of ``if api.has("Class.name")`` are decided
by ``tests/data/tensorrt-names.json``, and every attribute that is left must be in that version.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import cxredge.backends.tensorrt as package
from tests.backends import real_bindings

SOURCES = sorted(Path(package.__file__).parent.glob("*.py"))
# Class of each variable name, everywhere in the package.
VARIABLES = {
    "trt": "",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "host_memory": "IHostMemory",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "tensor": "ITensor",
    "timing_cache": "ITimingCache",
}
FILE = json.loads(real_bindings.NAMES.read_text())


def names_in(version: str) -> set[str]:
    some = {name for name, versions in FILE["in some"].items() if version in versions.split()}
    return some | set(FILE["everywhere"])


class Reader:
    """Collects the names that one version would reach.

    Args:
        names: What the version has.
    """

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.reached: dict[str, int] = {}

    def block(self, statements: list[ast.stmt]) -> bool:
        """Read statements; return whether the block is left before its end."""
        return any(self.statement(statement) for statement in statements)

    def statement(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.If):
            decided = self.test(node.test)
            ends = [self.block(b) for b, way in ((node.body, True), (node.orelse, False))
                    if decided in (None, way)]  # fmt: skip
            return all(ends)
        for _, value in ast.iter_fields(node):
            parts = value if isinstance(value, list) else [value]
            if parts and isinstance(parts[0], ast.stmt):
                self.block(parts)
                continue
            for part in parts:
                if isinstance(part, ast.AST):
                    self.anything(part)
        return isinstance(node, ast.Return | ast.Raise | ast.Continue)

    def anything(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self.statement(node)
            return
        if isinstance(node, ast.IfExp):
            decided = self.test(node.test)
            for branch, way in ((node.body, True), (node.orelse, False)):
                if decided in (None, way):
                    self.anything(branch)
            return
        if isinstance(node, ast.BoolOp):
            self.test(node)
            return
        if isinstance(node, ast.Attribute):
            self.attribute(node)
        children = list(ast.iter_child_nodes(node))
        self.block([child for child in children if isinstance(child, ast.stmt)])
        for child in children:
            if not isinstance(child, ast.stmt):
                self.anything(child)

    def test(self, node: ast.expr) -> bool | None:
        """Return the value of a condition in this version, or None if unknown."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            decided = self.test(node.operand)
            return None if decided is None else not decided
        if isinstance(node, ast.BoolOp):
            stops = isinstance(node.op, ast.Or)
            parts = []
            for part in node.values:
                parts.append(self.test(part))
                if parts[-1] is stops:
                    return stops
            return None if None in parts else not stops
        asked = asked_for(node)
        if asked:
            return asked in self.names
        self.anything(node)
        return None

    def attribute(self, node: ast.Attribute) -> None:
        parts = [node.attr]
        value = node.value
        while isinstance(value, ast.Attribute):
            parts.append(value.attr)
            value = value.value
        if isinstance(value, ast.Name) and value.id in VARIABLES:
            first = VARIABLES[value.id]
            chain = [*([first] if first else []), *reversed(parts)]
            name = ".".join(chain[:2])
            if not chain[-1].startswith("__"):
                self.reached.setdefault(name, node.lineno)


def asked_for(node: ast.AST) -> str | None:
    """Return the name in ``api.has("...")``."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "has"
        and isinstance(node.args[0], ast.Constant)
    ):
        return str(node.args[0].value)
    return None


def missing(source: str, names: set[str]) -> list[str]:
    reader = Reader(names)
    reader.block(ast.parse(source).body)
    return [f"{name} (line {line})" for name, line in reader.reached.items() if name not in names]


def all_nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


@pytest.mark.parametrize("version", FILE["versions"])
def test_no_version_misses_a_name(version: str) -> None:
    names = names_in(version)
    wrong = {path.name: found for path in SOURCES if (found := missing(path.read_text(), names))}
    assert wrong == {}


def test_every_guard_is_needed() -> None:
    """A name that no version has is a typo; one that all have needs no guard."""
    asked = {name for _, node in all_nodes() if (name := asked_for(node))}
    assert len(asked) > 8
    assert asked <= set(FILE["in some"])


def test_the_reader_follows_the_code() -> None:
    """Common names are reached in all versions, the legacy calibrator only where it exists."""
    reached = {}
    for version in ("8.6.1", "11.4.0.106"):
        reader = Reader(names_in(version))
        for path in SOURCES:
            reader.block(ast.parse(path.read_text()).body)
        reached[version] = set(reader.reached)
    both = reached["8.6.1"] & reached["11.4.0.106"]
    assert {"IExecutionContext.execute_async_v3", "Builder.build_serialized_network"} <= both
    assert "IInt8EntropyCalibrator2" in reached["8.6.1"] - reached["11.4.0.106"]
    assert "IProgressMonitor" in reached["11.4.0.106"] - reached["8.6.1"]


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("config.set_flag(trt.BuilderFlag.INT8)", True),
        ("if api.has('BuilderFlag.INT8'):\n    trt.BuilderFlag.INT8", False),
        ("if not api.has('BuilderFlag.INT8'):\n    raise E\ntrt.BuilderFlag.INT8", False),
        ("if not api.has('BuilderFlag.INT8'):\n    x = 1\ntrt.BuilderFlag.INT8", True),
        ("if api.has('BuilderFlag.INT8') and y:\n    trt.BuilderFlag.INT8", False),
        ("if api.has('BuilderFlag.INT8') or y:\n    trt.BuilderFlag.INT8", True),
        ("x = y and engine.num_bindings", True),
        ("if a:\n    pass\nelif api.has('BuilderFlag.INT8'):\n    pass\nelse:\n"
         "    engine.num_bindings", True),
        ("def f():\n    for i in x:\n        engine.num_bindings", True),
    ],
)  # fmt: skip
def test_the_reader_finds_names_that_11_lacks(code: str, wrong: bool) -> None:
    assert bool(missing(code, names_in("11.4.0.106"))) is wrong


def test_tensorrt_objects_are_in_variables_that_the_reader_knows() -> None:
    """``self._engine.x`` would be missed: the attribute is first assigned to a variable."""
    hidden = {f"_{name}" for name in VARIABLES}
    wrong = [
        f"{path.name}:{node.lineno} {node.value.attr}.{node.attr}"
        for path, node in all_nodes()
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in hidden
    ]
    assert wrong == []


def test_enum_members_are_never_written_as_numbers() -> None:
    """They change between versions: STRONGLY_TYPED is bit 1 in TensorRT 10 and bit 0 in 11."""
    for path, node in all_nodes():
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift):
            assert isinstance(node.right, ast.Call), f"{path.name}:{node.lineno}"


@pytest.mark.slow
@pytest.mark.parametrize("version", real_bindings.VERSIONS)
def test_the_names_are_those_of_the_real_bindings(version: str) -> None:
    """Opt-in: downloads the bindings into the folder that CXREDGE_TENSORRT_BINDINGS names."""
    folder = os.environ.get("CXREDGE_TENSORRT_BINDINGS")
    if not folder:
        pytest.skip("set CXREDGE_TENSORRT_BINDINGS to a folder for NVIDIA's bindings")
    bindings = real_bindings.fetch(version, Path(folder))
    real = real_bindings.read_names(real_bindings._IMPORT, str(bindings))
    named = {name for one, names in real.items() for name in (one, *(f"{one}.{n}" for n in names))}
    assert named == names_in(version)
    said = real_bindings.run(
        bindings,
        "try:\n    trt.Builder(trt.Logger())\nexcept TypeError as error:\n    print(error)",
    )
    assert "factory function returned nullptr" in said


DERIVED = """
sys.path.insert(0, sys.argv[2])
from contextlib import ExitStack
from cxredge.backends.tensorrt.api import Api, Flavour
from cxredge.backends.tensorrt.calibrator import _calibrator_class
from cxredge.backends.tensorrt.layers import make_profiler
from cxredge.backends.tensorrt.log import capture_log
from cxredge.backends.tensorrt.monitor import _monitor_class
from cxredge.progress import Silent
api = Api(trt, Flavour.TENSORRT, trt.__version__)
listener, log = capture_log(api)
listener.log(trt.Logger.WARNING, "heard")
listener.log(trt.Logger.INFO, "not kept")
assert log.lines == [("WARNING", "heard")], log.lines
make_profiler(api).report_layer_time("conv", 1.0)
if api.has("IProgressMonitor"):
    with ExitStack() as tasks:
        monitor = _monitor_class(api)(tasks, Silent(), "")
        monitor.phase_start("a", None, 2)
        assert monitor.step_complete("a", 0)
        monitor.phase_finish("a")
if api.has("IInt8EntropyCalibrator2"):
    class Memory:
        def device(self, size):
            return 5
    calibrator = _calibrator_class(api)(iter(()), 8, 64, pathlib.Path("none"), Memory())
    assert calibrator.get_batch_size() == 8 and calibrator.get_batch(["image"]) is None
    assert calibrator.read_calibration_cache() is None and calibrator.failure is None
print("fine")
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", real_bindings.VERSIONS)
def test_classes_derived_from_the_real_ones_work(version: str) -> None:
    """Opt-in, as above: callbacks can be derived from each version's real classes."""
    folder = os.environ.get("CXREDGE_TENSORRT_BINDINGS")
    if not folder:
        pytest.skip("set CXREDGE_TENSORRT_BINDINGS to a folder for NVIDIA's bindings")
    bindings = real_bindings.fetch(version, Path(folder))
    root = Path(package.__file__).parents[3]
    assert real_bindings.run(bindings, DERIVED, str(root)) == "fine\n"
