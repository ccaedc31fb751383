"""Architecture of the package: the import law, and commands of a device run without torch."""

from __future__ import annotations

import ast
import os
import re
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import cxredge
from cxredge.triton.version_files import CODE

ROOT = Path(cxredge.__file__).parent
CONTRIBUTING = ROOT.parent / "CONTRIBUTING.md"

# The import law: one row per package (or module at the root), from the bottom up. A package may
# import the packages of its row, and each of those stands above it in the table. CONTRIBUTING.md
# prints the same table.
MAY_IMPORT = {
    "version": "",
    "errors": "",
    "progress": "",
    "vocabulary": "",
    "metrics": "",
    "plots": "",
    "telemetry": "",
    "gate": "metrics",
    "artifacts": "errors gate metrics version vocabulary",
    "targets": "errors vocabulary",
    "data": "artifacts errors metrics progress vocabulary",
    "heatmaps": "data metrics",
    "graph": "artifacts errors metrics vocabulary",
    "models": "errors",
    "export": "artifacts data errors graph models progress vocabulary",
    "backends": "artifacts data errors graph metrics progress targets telemetry vocabulary",
    "quantization": "artifacts backends data errors gate graph metrics progress vocabulary",
    "training": "artifacts backends data errors metrics models plots progress vocabulary",
    "bundle": "artifacts backends data errors gate metrics progress targets telemetry vocabulary",
    "results": "artifacts backends errors metrics telemetry vocabulary",
    "comparison": "artifacts bundle errors metrics results telemetry",
    "inference": "artifacts backends bundle data errors heatmaps metrics progress results"
    " vocabulary",
    "diagnosis": "artifacts backends bundle data errors graph results targets telemetry vocabulary",
    "bench": "artifacts backends bundle comparison data errors inference metrics progress results"
    " targets telemetry vocabulary",
    "report": "artifacts backends bundle comparison data errors gate inference metrics plots"
    " results targets telemetry version vocabulary",
    "api": "backends bundle data errors inference",
    "triton": "artifacts backends bundle data errors graph inference progress vocabulary",
    "build": "artifacts backends bundle data errors export gate graph metrics progress"
    " quantization targets training vocabulary",
    "cluster": "artifacts backends build bundle data errors inference progress telemetry version"
    " vocabulary",
    "cli": "everything",
}
ENTRY_POINTS = {"__init__", "__main__"}

# Third-party libraries and the packages or modules that import them; every other library may be
# imported anywhere.
LIBRARIES = {
    "torch": "models training export",
    "torchvision": "models",
    "timm": "models",
    "lightning_fabric": "training",
    "safetensors": "models training",
    "h5py": "models.keras_file",
    "openvino": "backends.openvino",
    "pydicom": "data.dicom",
    "msgspec": "artifacts metrics results",
    "cryptography": "bundle.signature",
    "pyarrow": "inference",
    "fsspec": "data.remote",
    "mlperf_loadgen": "bench.loadgen",
    "tritonclient": "triton.model_config",
    "triton_python_backend_utils": "triton.python_backend",
    "jinja2": "report.render",
    "tomli": "targets.toml_file",
    "typer": "cli",
    "rich": "cli.output",
    "ray": "cluster.ray_cluster",
    "mlflow": "training.mlflow_log",
}
# Libraries that exist only on a machine with a GPU: one module each imports them by name.
GPU_LIBRARIES = {
    "tensorrt": "backends/tensorrt/api.py",
    "pycuda": "backends/cuda/pycuda.py",
    "cuda": "backends/cuda/cuda_python.py",
}


@cache
def syntax_trees() -> dict[str, list[ast.AST]]:
    """Return the nodes of every module of the package, by the path of its file."""
    paths = ROOT.rglob("*.py")
    return {
        path.relative_to(ROOT).as_posix(): list(ast.walk(ast.parse(path.read_text())))
        for path in paths
    }


@cache
def imports() -> list[tuple[str, str]]:
    """Return (module, imported cxredge or third-party name) for every import of the package."""
    found = []
    for path, nodes in syntax_trees().items():
        module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for node in nodes:
            if isinstance(node, ast.Import):
                found += [(module, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
                if node.module == "cxredge":
                    names = [f"cxredge.{alias.name}" for alias in node.names]
                found += [(module, name) for name in names]
    return found


def package_of(name: str) -> str:
    """Return the package at the root, or the module there, that a module belongs to."""
    return name.removeprefix("cxredge.").split(".")[0]


def packages() -> set[str]:
    """Return the names of all packages and modules at the root, without the entry points."""
    names = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in ROOT.rglob("*.py")}
    return names - ENTRY_POINTS


def test_imports_point_where_the_law_allows() -> None:
    wrong = []
    for module, name in imports():
        importer, imported = package_of(module), package_of(name)
        if not name.startswith("cxredge.") or importer in ENTRY_POINTS:
            continue
        if imported == importer or MAY_IMPORT[importer] == "everything":
            continue
        if imported not in MAY_IMPORT[importer].split():
            wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_every_package_has_its_place_in_the_law() -> None:
    assert packages() == set(MAY_IMPORT)


def test_imports_point_down_the_table() -> None:
    """No row may name its own package or a later row, so there are no import cycles."""
    above: list[str] = []
    for package, allowed in MAY_IMPORT.items():
        if allowed != "everything":
            assert set(allowed.split()) <= set(above), package
        above.append(package)


def test_a_triton_repository_holds_the_code_that_serving_may_import() -> None:
    needed, missing = set(), {"triton"}
    while missing:
        name = missing.pop()
        needed.add(name)
        missing |= set(MAY_IMPORT[name].split()) - needed
    assert {name.removesuffix(".py") for name in CODE} == needed | {"__init__"}


def test_every_row_of_the_law_is_used() -> None:
    used = {(package_of(module), package_of(name)) for module, name in imports()}
    rows = {package: row for package, row in MAY_IMPORT.items() if row != "everything"}
    allowed = {(package, name) for package, row in rows.items() for name in row.split()}
    assert allowed - used == set()


def test_contributing_prints_the_law() -> None:
    row = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
    rows = row.findall(CONTRIBUTING.read_text())
    printed = {package: " ".join(re.findall(r"\w+", allowed)) for package, allowed in rows}
    assert list(printed) == list(MAY_IMPORT)
    assert printed == {package: allowed or "nothing" for package, allowed in MAY_IMPORT.items()}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_where_it_is_allowed(library: str) -> None:
    users = {module for module, name in imports() if name.split(".")[0] == library}
    allowed = LIBRARIES[library].split()
    assert users
    for module in users:
        assert any(f"{module}.".startswith(f"{one}.") for one in allowed), module


def test_libraries_of_the_gpu_are_imported_by_name_in_one_place() -> None:
    imported = {name.split(".")[0] for _, name in imports()}
    assert not imported & {*GPU_LIBRARIES, "tensorrt_rtx"}
    by_name = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if "importlib.import_module(" in path.read_text()
        and "backends" in path.relative_to(ROOT).parts
    }
    assert by_name == {*GPU_LIBRARIES.values(), "backends/cuda/memory.py"}


def test_only_the_command_line_prints() -> None:
    for path, nodes in syntax_trees().items():
        calls = [
            node.func.id
            for node in nodes
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        if path != "cli/output.py":
            assert "print" not in calls, path


# A new process does not share the patches of conftest.py.
QUICK_SEARCH = "from tests.quick_search import shorten\nshorten()\n"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_importing_everything_but_training_needs_no_torch() -> None:
    done = python(
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'lightning_fabric', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "import importlib, pkgutil, cxredge\n"
        "for found in pkgutil.walk_packages(cxredge.__path__, 'cxredge.'):\n"
        "    inside = found.name.split('.')\n"
        "    if found.name in ('cxredge.export.export', 'cxredge.export.trace'):\n"
        "        continue\n"
        "    if found.name == 'cxredge.__main__':\n"
        "        continue\n"
        "    if 'training' in inside:\n"
        "        continue\n"
        "    if inside[1] == 'models' and inside[-1] not in ('models', 'blocks', 'zoo'):\n"
        "        continue\n"
        "    importlib.import_module(found.name)\n"
    )
    assert done.returncode == 0, done.stderr


def test_device_commands_run_without_torch(
    model: Path, calibration: Path, phantoms: Path, tmp_path: Path
) -> None:
    bundle, images = tmp_path / "bundle", phantoms / "images"
    commands = [
        ["doctor"],
        ["targets"],
        ["models"],
        ["build", model, "--calibration", calibration, "--out", bundle, "--min-agreement", "0.5"],
        ["deploy", bundle],
        ["verify", bundle],
        ["inspect", bundle],
        ["predict", bundle, images, "--out", tmp_path / "p.csv"],
        ["show", next(images.rglob("*.png")), "--bundle", bundle, "--out", tmp_path / "s.png"],
        ["evaluate", bundle, phantoms / "manifest.csv"],
        ["bench", bundle, "--seconds", "0", "--queries", "5", "--images", images],
        ["compare", bundle, bundle],
        ["report", bundle, "--out", tmp_path / "r.html"],
    ]
    done = python(
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from cxredge.cli import app\n"
        f"{QUICK_SEARCH}"
        f"for arguments in {[[str(a) for a in c] for c in commands]!r}:\n"
        "    try:\n"
        "        app(arguments, standalone_mode=True)\n"
        "    except SystemExit as stop:\n"
        "        assert not stop.code, (arguments, stop.code)\n"
        "assert sys.modules['torch'] is None\n"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.html").is_file()


def test_device_commands_run_on_the_packages_of_requirements_device(
    bundle: Path, phantoms: Path, model: Path, tmp_path: Path
) -> None:
    """All packages that requirements-device.txt does not list fail to import here."""
    images = phantoms / "images"
    commands = [
        ["doctor"],
        ["targets", "show", "jetson-orin-nano"],
        ["deploy", bundle],
        ["verify", bundle],
        ["inspect", bundle],
        ["inspect", phantoms / "manifest.csv"],
        ["predict", bundle, images, "--out", tmp_path / "p.csv"],
        ["show", next(images.rglob("*.png")), "--bundle", bundle, "--out", tmp_path / "s.png"],
        ["evaluate", bundle, phantoms / "manifest.csv"],
        ["bench", bundle, "--seconds", "0", "--queries", "5", "--harness", "builtin"],
        ["compare", bundle, bundle],
        ["report", bundle, "--out", tmp_path / "r.html"],
    ]
    making = ["build", model, "--out", tmp_path / "another"]
    lines = (ROOT.parent / "requirements-device.txt").read_text().splitlines()
    listed = [re.split("[=;]", line)[0].strip() for line in lines if line[0] not in "#-"]
    done = python(
        "import sys\n"
        "from importlib import metadata\n"
        f"listed = {{*{listed!r}, 'cxredge'}}\n"
        "known = metadata.packages_distributions()\n"
        "normal = lambda name: name.lower().replace('_', '-')\n"
        "for name, owners in known.items():\n"
        "    if not listed & {normal(owner) for owner in owners}:\n"
        "        sys.modules[name] = None\n"
        "assert sys.modules['onnx'] is None\n"
        "import cxredge.backends.tensorrt, cxredge.build.engines\n"
        "from cxredge.cli import app\n"
        f"{QUICK_SEARCH}"
        f"making = {[str(a) for a in making]!r}\n"
        f"for arguments in [*{[[str(a) for a in c] for c in commands]!r}, making]:\n"
        "    try:\n"
        "        app(arguments, standalone_mode=True)\n"
        "    except SystemExit as stop:\n"
        "        assert bool(stop.code) == (arguments == making), (arguments, stop.code)\n"
    )
    assert done.returncode == 0, done.stderr
    assert "This command requires the Python package 'onnx'" in done.stderr
    assert (tmp_path / "r.html").is_file()


def test_training_without_torch_names_the_extra_to_install(phantoms: Path, tmp_path: Path) -> None:
    done = python(
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from cxredge.cli import app\n"
        f"app(['train', {str(phantoms / 'manifest.csv')!r}, '--weights', 'none',\n"
        f"     '--out', {str(tmp_path / 'run')!r}])\n"
    )
    assert done.returncode == 1
    assert "pip install 'cxredge[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "cxredge", "--help"], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert b"predict" in done.stdout
    # The limit is 0.2 s of processor time, which other processes do not affect; the best of five.
    assert min(seconds) < 0.2
