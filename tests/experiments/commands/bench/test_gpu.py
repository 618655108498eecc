"""``bench-gpu``: its checks on the CPU, where they can be known to hold, and a report that survives what fails."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from experiments.bench.device import checks
from experiments.bench.device.findings import Finding, read_findings, write_findings
from experiments.bench.device.report import PartReport, run_lines, write_report
from experiments.commands.bench import gpu
from tests.experiments.helpers import RESUMING

pytestmark = RESUMING
CPU = torch.device("cpu")


def test_the_spline_is_itself() -> None:
    found = list(checks.spline_findings(CPU))
    assert len(found) == 4
    assert all(finding.good for finding in found)
    assert found[0].value.startswith("0 px")


def test_a_spline_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = checks._field

    def wrong(source: torch.Tensor, target: torch.Tensor, coarse: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        field, slope = right(source, target, coarse)
        return (field + 1e-3 if source.dtype == torch.float32 else field), slope

    monkeypatch.setattr(checks, "_field", wrong)
    assert [finding.good for finding in checks.spline_findings(CPU)] == [True, False, False, True]


def test_a_method_and_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "names", lambda kind: ["supervised"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (method,) = checks.method_findings(CPU, tmp_path)
        resumed = next(checks.resume_findings(CPU, tmp_path))
    assert method == Finding("method supervised, two epochs in bf16", "finite", True)
    assert resumed == Finding("resumed run, 32-true", "bit for bit", True)


def test_what_fails_leaves_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> Iterator[Finding]:
        yield Finding("first", "1")
        raise RuntimeError("CUDA error")

    looked_at = {"checks": {"a": breaks(), "b": iter([Finding("second", "2", True)])}}
    monkeypatch.setattr(gpu, "_looked_at", lambda device, scratch: looked_at)
    found = read_findings(gpu.bench_gpu(str(tmp_path), device="cpu", part="checks"))
    assert [(one.what, one.good) for one in found] == [("first", None), ("a", False), ("second", True)]
    assert "CUDA error" in found[1].value


@pytest.mark.parametrize(
    ("program", "seconds", "ended"),
    [
        ("pass", 60, "done"),
        ("raise SystemExit(3)", 60, "FAILED (status 3)"),
        ("import time; time.sleep(60)", 0.1, "stopped after 0 s"),
    ],
)
def test_how_a_part_ends(program: str, seconds: float, ended: str) -> None:
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as process:
        assert gpu._ended(process, seconds) == ended
        assert process.poll() is not None


def test_the_report(tmp_path: Path) -> None:
    write_findings(tmp_path / "checks.json", [Finding("spline", "9 px", False)])
    parts = [
        PartReport("checks", "done", 3.0, read_findings(tmp_path / "checks.json"), []),
        PartReport("training", "FAILED (status 1)", 2.0, [], ["| a table |"], ["its last words"]),
    ]
    text = write_report(tmp_path, parts, CPU).read_text()
    assert "Not as they should be: checks: spline; training: FAILED (status 1)." in text
    assert "| spline | 9 px | **NO** |" in text
    assert "| a table |" in text
    assert "its last words" in text
    assert json.loads((tmp_path / "report.json").read_text())[0]["findings"][0]["value"] == "9 px"


def test_lines_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/cost.json").write_text('{"epochs": 2, "steps": 8, "seconds": 4.2}')
    (tmp_path / "run/nme.csv").write_text(
        "epoch,phase,subset,nme,fr@8,auc@8,n\n0,warper,a,9.5,0,0,4\n1,p,a,8.5,0,0,4\n"
    )
    found = run_lines(tmp_path)
    assert [one.value for one in found] == ["2, 8, 4", "8.5 %"]
    assert run_lines(tmp_path / "nowhere") == []


def test_a_part_without_time(tmp_path: Path) -> None:
    gpu.bench_gpu(str(tmp_path), device="cpu", seconds=1, parts=("checks",))
    assert "no time was left" in (tmp_path / "report.md").read_text()
