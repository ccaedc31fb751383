"""``cxredge build``: from a run or a model to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cxredge.cli.command import command
from cxredge.cli.engine import ComputeCapabilityOption, TensorRTOptions, capabilities
from cxredge.cli.gate import GateOptions, RefusalOptions, explained
from cxredge.cli.options import (
    EffortOption,
    PrecisionOption,
    SeedOption,
    SignWithOption,
    SplitOption,
)
from cxredge.cli.output import Outcome, Output, Verbosity
from cxredge.cli.outputs import OutputOptions
from cxredge.cli.usage import Command, UsageError
from cxredge.errors import WrongUsage, quoted
from cxredge.vocabulary import Effort, Split


class _BuildOrDeploy(Command):
    """``build``, or an alias of ``deploy`` if the argument is a bundle."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Parse the arguments as those of ``deploy`` if they fit and name a bundle."""
        return _parse_as_deploy(args, parent) or super().make_context(
            info_name, args, parent, **extra
        )


def _parse_as_deploy(args: list[str], parent: Any) -> Any:
    if parent is None or {*parent.help_option_names} & {*args}:
        return None
    deploy = parent.command.get_command(parent, "deploy")
    try:
        context = deploy.make_context("deploy", [*args], parent)
    except UsageError as error:
        # An earlier bundle in --out is replaced.
        words = [word for before, word in zip(["", *args], args, strict=False) if before != "--out"]
        bundle = next((Path(word) for word in words if _is_bundle(Path(word))), None)
        option = getattr(error, "option_name", None)
        if bundle is None or option is None:
            return None
        raise UsageError(
            f"{bundle} is already a bundle, and {option} is not an option of 'cxredge "
            f"deploy', which finishes one on its device: cxredge deploy {quoted(bundle)}"
        ) from None
    bundle = context.params["bundle"]
    if not _is_bundle(bundle):
        return None
    verbosity = Verbosity.QUIET if context.params["quiet"] else Verbosity.NORMAL
    Output(verbosity=verbosity).note(
        f"'cxredge build BUNDLE' is an alias of: cxredge deploy {quoted(bundle)}"
    )
    return context


def _is_bundle(source: Path) -> bool:
    from cxredge.artifacts.card import ArtifactKind
    from cxredge.artifacts.folder import kind_of
    from cxredge.bundle.archive import is_archive

    return is_archive(source) or kind_of(source) == ArtifactKind.BUNDLE.value


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "build", _BuildOrDeploy)(build)


def build(
    output: Output,
    *,
    source: Annotated[
        Path, typer.Argument(metavar="RUN_OR_MODEL", help="Folder of a run or of an FP32 model.")
    ],
    target: Annotated[
        str,
        typer.Option("--target", help="Device, as in 'cxredge targets'; 'here' is this machine."),
    ] = "here",
    precision: PrecisionOption = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Calibration list from 'cxredge calibrate'. [default: 256 training images of the "
            "run's own manifest]",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle to write.")],
    evaluate: Annotated[
        Path | None,
        typer.Option("--evaluate", help="Manifest for the gate. [default: the run's own]"),
    ] = None,
    split: SplitOption = Split.TEST,
    gate: GateOptions,
    refusals: RefusalOptions,
    seed: SeedOption = 0,
    effort: EffortOption = Effort.DEFAULT,
    cascade: Annotated[
        bool | None,
        typer.Option(
            "--cascade/--no-cascade",
            help="Let FP32 decide near ties: images whose first two classes a reduced precision "
            "may have swapped. The reduced precision must still pass the gate alone. [default: "
            "--cascade if cxredge runs on the target]",
        ),
    ] = None,
    outputs: OutputOptions,
    archive: Annotated[
        bool,
        typer.Option(
            "--archive", help="Also pack the bundle, with its X-rays, as one file: BUNDLE.tar."
        ),
    ] = False,
    sign_with: SignWithOption = None,
    engine: TensorRTOptions,
    compute_capability: ComputeCapabilityOption = None,
) -> Outcome:
    """Build a bundle: export, quantize, compare with FP32, pack.

    Runs the stages that are missing, compares every precision with FP32 on held-out images, times
    them if this machine is the target, and packs what passes. The manifest's controls show what the
    network calls X-rays that show none of the classes. Finish the bundle on its device with
    'cxredge deploy'. X-rays travel inside: about a dozen golden images, and those that a precision
    decides differently from FP32 (golden.npz, flipped.npz).
    Exits with code 3 if the requested precision does not pass the gate.
    """
    if _is_bundle(source):
        raise WrongUsage(
            f"{source} is already a bundle; only the options of 'cxredge deploy' apply to it.",
            f"Finish it on its device: cxredge deploy {quoted(source)}",
        )
    from cxredge.artifacts.card import read_artifact
    from cxredge.artifacts.model_card import ExportedCard
    from cxredge.artifacts.run_card import RunCard
    from cxredge.build import BuildConfig, build_bundle
    from cxredge.build.config import Source
    from cxredge.cli.build_outcome import outcome_of
    from cxredge.data.manifest import read_manifest

    opened: Source = read_artifact(source, RunCard, ExportedCard)
    config = BuildConfig.for_target(
        target, precision, engine=engine.engine_options(), cascade=cascade,
        compute_capabilities=capabilities(compute_capability), limits=gate.limits(), split=split,
        specificity=gate.specificity, calibration_seed=seed, effort=effort,
        refusals=refusals.limits(), **outputs.settings(),
    )  # fmt: skip
    manifest = read_manifest(evaluate or source / "manifest.csv")
    entries = manifest.of(split)
    with explained(output, entries):
        result = build_bundle(
            opened, manifest, config, out, calibration=calibration, sign_with=sign_with,
            archive=archive, progress=output,
        )  # fmt: skip
    return outcome_of(result, entries, manifest.path)
