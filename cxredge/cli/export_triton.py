"""``cxredge export-triton``: a model repository for NVIDIA Triton."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleArgument
from cxredge.cli.output import Outcome, Output
from cxredge.errors import quoted
from cxredge.vocabulary import Precision, TritonBackend, TritonDevice

if TYPE_CHECKING:
    from cxredge.triton.export import Exported

IMAGE = "nvcr.io/nvidia/tritonserver:26.09-py3"
"""Container of the release whose documentation was read. It was not run; docs/scale.md says what
was."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "export-triton")(export_triton)


def export_triton(
    output: Output,
    bundle: BundleArgument,
    out: Annotated[Path, typer.Option("--out", metavar="REPO", help="Model repository to write.")],
    name: Annotated[
        str,
        typer.Option(
            "--name", help="Name of the model that takes files; NAME_network is the bare network."
        ),
    ] = "cxr",
    version: Annotated[
        int | None,
        typer.Option(
            "--version",
            min=1,
            help="Add this version to a repository that exists; Triton loads it while it runs. "
            "[default: version 1 of a new repository]",
        ),
    ] = None,
    backend: Annotated[
        TritonBackend | None,
        typer.Option("--backend", help="Backend of the bare network. [default: the bundle's]"),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision", help="Precision of the bare network. [default: the one that serves]"
        ),
    ] = None,
    device: Annotated[
        TritonDevice | None,
        typer.Option(
            "--device",
            help="Device of the bare network; a server without a GPU refuses gpu. [default: gpu "
            "for tensorrt, else cpu]",
        ),
    ] = None,
    max_batch: Annotated[
        int,
        typer.Option(
            "--max-batch", min=1, max=1024, help="Maximum number of images per execution."
        ),
    ] = 16,
    instances: Annotated[
        int,
        typer.Option(
            "--instances",
            min=0,
            max=1024,
            help="Number of instances of the bare network; 0 for the passport's.",
        ),
    ] = 0,
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            min=0,
            max=1024,
            help="Number of threads per inference of the bare network; 0 for the passport's, or "
            "all cores without one.",
        ),
    ] = 0,
    served_versions: Annotated[
        int,
        typer.Option(
            "--served-versions", min=1, max=100, help="Number of versions to serve, the newest."
        ),
    ] = 1,
    images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images",
            help="Put golden images into the repository, which are X-rays; Triton's model compares "
            "its results with them when it is loaded.",
        ),
    ] = True,
) -> Outcome:
    """Write a model repository for NVIDIA Triton.

    It has two models. NAME takes the bytes of files and returns what 'predict' writes, with
    preprocessing, near ties, refusals and prediction sets; it contains the bundle and the code of
    this cxredge. NAME_network is the bare network. Requires the extra 'triton'.
    """
    from cxredge.bundle.bundle import note_if_strange, open_bundle
    from cxredge.triton.export import export_triton as stage
    from cxredge.triton.options import TritonOptions

    options = TritonOptions(
        name, version, backend, precision, device, max_batch, instances, threads, served_versions,
        images,
    )  # fmt: skip
    opened = open_bundle(bundle)
    note_if_strange(opened, output)
    done = stage(opened, out, options, output)
    data = {
        "repository": str(out),
        "version": done.version,
        "up_to_date": done.up_to_date,
        "models": {name: {"backend": "python"}, options.network_name: _network(done)},
        "classes": list(opened.card.classifier.classes),
    }
    return Outcome(data, _text(done, options.name, options.network_name), _run(out, name, done))


def _network(done: Exported) -> dict[str, Any]:
    network = done.network
    return {
        "backend": network.backend.value,
        "precision": network.precision.value,
        "device": network.device.value,
        "file": network.file_name,
        "max_batch": network.max_batch,
        "instances": network.instances,
        "threads": network.threads,
        "outputs": {key: list(shape) for key, shape in network.outputs.items()},
        "checked_images": done.checked_images,
        "near_ties": network.near_ties,
        "tensorrt": network.engine.version if network.engine else None,
        "compute_capability": network.engine.compute_capability if network.engine else None,
    }


def _text(done: Exported, name: str, bare: str) -> str:
    network = done.network
    what = f"{network.precision.value} in {network.backend.value} on the {network.device.value}"
    if done.checked_images is None:
        checked = "not compared here: this machine cannot run it as Triton does"
    else:
        checked = (
            f"computes on {done.checked_images} images what the bundle computes, bit for bit, with "
            "the options that Triton sets"
        )
    lines = [
        f"{name}: takes files and answers as 'cxredge predict'.",
        f"{bare}: {what}; {checked}.",
    ]
    if network.near_ties:
        lines.append(
            f"In {bare}, {network.precision.value} decides alone; in {name}, FP32 decides near "
            f"ties ({network.near_ties:.1%} of the held-out images)."
        )
    if network.engine:
        lines.append(
            f"Its engine requires TensorRT {network.engine.version} and compute capability "
            f"{network.engine.compute_capability}."
        )
    word = "Unchanged:" if done.up_to_date else "Wrote"
    lines.append(f"{word} version {done.version} of {name} and {bare} in {done.repository}")
    return "\n".join(lines)


def _run(out: Path, name: str, done: Exported) -> str:
    """Return the command that starts or updates a server."""
    if done.version > 1:
        return (
            f"curl -X POST localhost:8000/v2/repository/models/{name}/load (a server with "
            "--model-control-mode=explicit; with poll it loads the version itself)"
        )
    gpus = "--gpus all " if done.network.device is TritonDevice.GPU else ""
    install = f"pip install -q -r /models/{name}/1/requirements.txt"
    return (
        f"docker run --rm {gpus}--shm-size=1g -e ORT_DISABLE_TELEMETRY=1 -p 8000:8000 -p 8001:8001 "
        f"-v {quoted(out.resolve())}:/models {IMAGE} sh -c '{install} && exec tritonserver "
        "--model-repository=/models'"
    )
