"""Options of a prediction on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.errors import WrongUsage
from cxredge.vocabulary import Engine

if TYPE_CHECKING:
    from cxredge.cluster.ray_cluster import ClusterSettings


@dataclass(frozen=True)
class ClusterOptions:
    """What predicts; None for the default of the cluster."""

    engine: Annotated[
        Engine,
        typer.Option(
            "--engine",
            help="local: the cores of this machine, in one process. ray: a Ray cluster (extra "
            "'ray'); the rows are the same.",
        ),
    ] = Engine.LOCAL
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            help="Ray cluster: HOST:PORT of its head, auto on a machine of it, or local to start "
            "one on this machine. [default: local]",
            show_default=False,
        ),
    ] = None
    cores_per_worker: Annotated[
        int | None,
        typer.Option(
            "--cores-per-worker",
            min=1,
            help="Ray: number of cores per worker process. [default: 1]",
            show_default=False,
        ),
    ] = None
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            help="Ray: each kind of machine finishes a copy of the bundle for itself, as deploy "
            "does. Rows may then differ between kinds of machines; the summary says what ran.",
        ),
    ] = False

    def settings(self) -> ClusterSettings | None:
        """Return the settings of the cluster; None if this process predicts.

        Raises:
            WrongUsage: Options of a cluster are given without it.
        """
        if self.engine is Engine.LOCAL:
            given = {
                "--cluster": self.cluster,
                "--cores-per-worker": self.cores_per_worker,
                "--finish": self.finish or None,
            }
            for name, value in given.items():
                if value is not None:
                    raise WrongUsage(f"{name} requires a cluster.", "Add --engine ray.")
            return None
        from cxredge.cluster.ray_cluster import LOCAL, ClusterSettings

        return ClusterSettings(self.cluster or LOCAL, self.cores_per_worker or 1, self.finish)

    def words(self) -> list[str]:
        """Return the options as words of a command line."""
        words = ["--engine", self.engine.value] if self.engine is not Engine.LOCAL else []
        words += ["--cluster", self.cluster] if self.cluster else []
        words += ["--cores-per-worker", str(self.cores_per_worker)] if self.cores_per_worker else []
        return [*words, "--finish"] if self.finish else words
