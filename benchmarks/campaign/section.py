"""What one part of the campaign found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """One table of the campaign's page.

    Attributes:
        title: Heading.
        columns: Column names.
        rows: Cells, one for each column.
        notes: Sentences above the table: what was tried, how often, and under which limits.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: every row must have {len(self.columns)} cells")

    def as_markdown(self) -> str:
        """Return the section as Markdown."""
        cells = [self.columns, ("---",) * len(self.columns), *self.rows]
        table = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in cells)
        return "\n\n".join([f"## {self.title}", *self.notes, table]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
