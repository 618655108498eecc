"""The report of ``bench-gpu``: one file to read and one to compute with."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import torch

from experiments.bench.device.findings import Finding

_JUDGED: Final = {True: "yes", False: "**NO**", None: ""}


@dataclass(frozen=True)
class PartReport:
    """What a part came to.

    Attributes:
        name: of the part.
        ended: ``done``, or what stopped it.
        seconds: that it took.
        findings: what it found.
        tables: that it wrote, in Markdown.
        said: the end of its output, where it did not end well.
    """

    name: str
    ended: str
    seconds: float
    findings: list[Finding]
    tables: list[str]
    said: list[str] = field(default_factory=list)


def write_report(folder: Path, parts: Sequence[PartReport], device: torch.device) -> Path:
    """Write ``report.json`` and ``report.md``; returns the latter."""
    (folder / "report.json").write_text(json.dumps([asdict(part) for part in parts], indent=1) + "\n")
    wrong = [f"{part.name}: {finding.what}" for part in parts for finding in part.findings if finding.good is False]
    wrong += [f"{part.name}: {part.ended}" for part in parts if part.ended.startswith("FAILED")]
    lines = [f"# bench-gpu on {device.type}", "", f"Not as they should be: {'; '.join(wrong) or 'none'}.", ""]
    for part in parts:
        lines += [f"## {part.name}: {part.ended}, {part.seconds:.0f} s", ""]
        if part.findings:
            lines += ["| what | found | as it should be |", "|:--|:--|:--|"]
            lines += [f"| {each.what} | {each.value} | {_JUDGED[each.good]} |" for each in part.findings]
        lines += ["", *part.tables, *(["```", *part.said, "```"] if part.said else []), ""]
    path = folder / "report.md"
    path.write_text("\n".join(lines))
    return path


def run_lines(folder: Path) -> list[Finding]:
    """What runs under a folder wrote: epochs and their time, and the scores of their last validation."""
    found = []
    for path in sorted(folder.rglob("cost.json")):
        cost = json.loads(path.read_text())
        found.append(Finding("epochs, steps, seconds", f"{cost['epochs']}, {cost['steps']}, {cost['seconds']:.0f}"))
    for path in sorted(folder.rglob("nme.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        last = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
        found += [Finding(f"NME of {row['subset']} after epoch {row['epoch']}", f"{row['nme']} %") for row in last]
    return found
