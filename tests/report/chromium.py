"""A page in headless Chromium: its layout at several widths, its requests and its printed pages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_PRINTED_WIDTH = 703
"""CSS pixels between the margins of a printed A4 page."""
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_MEASURE = """
<script>
const wide = (e) => e.scrollWidth > e.clientWidth + 1;
const frames = [...document.querySelectorAll("iframe")];
window.addEventListener("load", () => {
  const found = frames.map((frame) => {
    const page = frame.contentDocument, root = page.documentElement;
    const beyond = [...page.querySelectorAll("table, td, th, dd, figure, svg, pre, .table, p, li")]
      .filter((e) => e.getClientRects().length &&
        (e.getBoundingClientRect().right > root.clientWidth + 1 ||
          (!e.closest("svg") && getComputedStyle(e).display != "inline" && wide(e))));
    return {
      width: root.clientWidth,
      overflows: wide(root) || wide(page.body),
      beyond: beyond.map((e) => e.tagName + ": " + e.textContent.trim().slice(0, 60)),
      tables: page.querySelectorAll("table").length,
      requests: frame.contentWindow.performance.getEntriesByType("resource")
        .map((one) => one.name).filter((name) => !name.startsWith("data:")),
    };
  });
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""


@dataclass(frozen=True)
class Layout:
    """A page at one width.

    Attributes:
        width: Width of its window.
        overflows: Whether the page is wider than its window.
        beyond: What is cut off or wider than its place.
        tables: Number of tables.
        requests: Addresses that the page loaded something from.
    """

    width: int
    overflows: bool
    beyond: list[str]
    tables: int
    requests: list[str]


def layouts(page: str, widths: tuple[int, ...], folder: Path) -> list[Layout]:
    """Return the layout at each width, and at last that of the printed page."""
    screen = _POLICY.sub("", page)
    printed = screen.replace("@media print", "@media all").replace("@media screen", "@media none")
    frames = [(screen, width) for width in widths] + [(printed, _PRINTED_WIDTH)]
    for number, (text, _) in enumerate(frames):
        (folder / f"frame-{number}.html").write_text(text, encoding="utf-8")
    shown = "".join(
        f'<iframe src="frame-{number}.html" style="border:0" width="{width}" height="900"></iframe>'
        for number, (_, width) in enumerate(frames)
    )
    outer = folder / "frames.html"
    outer.write_text(f"<!DOCTYPE html><body>{shown}{_MEASURE}</body>")
    document = _run(folder, "--allow-file-access-from-files", "--dump-dom", outer.as_uri())
    found = re.search(r'<pre id="found">(.*?)</pre>', document, re.DOTALL)
    assert found, document[-500:]
    return [Layout(**values) for values in json.loads(unescape(found[1]))]


def printed_pages(page: Path, folder: Path) -> int:
    """Return the number of pages on paper."""
    pdf = folder / "page.pdf"
    _run(folder, f"--print-to-pdf={pdf}", page.as_uri())
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


def _run(folder: Path, *options: str) -> str:
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars",
        "--virtual-time-budget=4000", f"--user-data-dir={folder / 'profile'}", *options,
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-500:]
    return ran.stdout
