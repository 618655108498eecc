"""What a part of ``bench-gpu`` found."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: was looked at.
        value: what was found, with its unit.
        good: whether it is as it should be; None where nothing says how it should be.
    """

    what: str
    value: str
    good: bool | None = None


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """As JSON; also while a part goes on, so that what is found is kept if it is stopped."""
    path.write_text(json.dumps([asdict(finding) for finding in findings], indent=1) + "\n")


def read_findings(path: Path) -> list[Finding]:
    """What :func:`write_findings` wrote; nothing if there is no file."""
    return [Finding(**each) for each in json.loads(path.read_text())] if path.is_file() else []
