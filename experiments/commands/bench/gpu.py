"""Everything that is to be seen on a GPU, in one call of at most 8 minutes. docs/results/gpu.md says how it is made.

Each part runs in a process of its own with a time budget: one that fails, or takes too long, leaves the others as they
are. The report is written after each. On a CPU the same parts run, smaller.
"""

import logging
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch

from experiments.bench.device.checks import landmarker_findings, method_findings, resume_findings, spline_findings
from experiments.bench.device.findings import Finding, read_findings, write_findings
from experiments.bench.device.report import PartReport, run_lines, write_report
from experiments.bench.device.speed import machine_findings, network_findings

log = logging.getLogger(__name__)

Part = Literal["", "figures", "checks"]
_WANTED: Final = 1500.0
"""Images a second, full SLPT at 256 pixels forward and backward in bf16, on an H100."""
_LEAST: Final = 20
"""Seconds of the whole under which no further part is begun."""


@dataclass(frozen=True)
class Plan:
    """A part: its command line after ``python -m experiments``, and the most seconds it may take."""

    words: Sequence[str]
    seconds: int


def bench_gpu(
    out: str = "bench-gpu",
    data: str = "",
    seconds: int = 470,
    parts: tuple[str, ...] = (),
    device: str = "",
    part: Part = "",
) -> Path:
    """Check and time everything on a GPU, within 8 minutes: one report in JSON and Markdown.

    Args:
        out: folder for report.json and report.md
        data: folder with 300W/ and CariFace_dataset/ to train on at the end (default: drawn faces)
        seconds: most time of all parts together (on a CPU give thousands)
        parts: of figures, training, checks, epochs (default: all, in that order)
        device: cpu or cuda (default: cuda if there is one)
        part: run this one part here, and write OUT/PART.json (the command does so itself, in other processes)

    Returns:
        The report in Markdown.

    Examples:
        warpmark bench-gpu --out report --data ROOT
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if part:
        return _alone(part, where, folder)
    began, done = time.monotonic(), []
    with tempfile.TemporaryDirectory() as name:
        plans = _plans(where, Path(name), data)
        for each in parts or tuple(plans):
            left = seconds - (time.monotonic() - began)
            if left < _LEAST:
                done.append(PartReport(each, "left out: no time was left", 0.0, [], []))
                report = write_report(folder, done, where)
                continue
            done.append(_run(each, plans[each], Path(name), left))
            log.info("%s: %s, %.0f s", each, done[-1].ended, done[-1].seconds)
            report = write_report(folder, done, where)
    return report


def _plans(device: torch.device, folder: Path, data: str) -> Mapping[str, Plan]:
    """Every part, the most wanted ones first; on a CPU smaller."""
    cuda = device.type == "cuda"
    alone = {
        name: ["bench-gpu", f"--part={name}", f"--device={device.type}", f"--out={folder}"]
        for name in ("figures", "checks")
    }
    training = ["bench-training", f"--device={device.type}", f"--out={folder}/training"]
    if cuda:
        # Drawing takes a tenth of a second a face and more; true faces are only linked.
        training += ["--faces=256", f"--data={data}"] if data else ["--faces=48", "--pixels=512"]
        training += ["--profile=paper", "--steps=20", "--scaling", "16", "64", "128", "--warp", "4", "64"]
        training += ["--trainer.precision=bf16-mixed", "--data.num_workers=12"]
    else:
        training += ["--faces=8", "--pixels=192", "--steps=1", "--rounds=1", "--scaling", "4", "--warp", "2"]
    return {
        "figures": Plan(alone["figures"], 100 if cuda else 600),
        "training": Plan(training, 170 if cuda else 900),
        "checks": Plan(alone["checks"], 150 if cuda else 900),
        "epochs": Plan(_epochs(folder, data, cuda), 10**6),
    }


def _epochs(folder: Path, data: str, cuda: bool) -> list[str]:
    """Training by PROFILE=paper: two epochs of pretraining, then cycles of both phases until the time is up."""
    words = ["train", "--profile=paper", f"--paths.runs={folder}/epochs", "--method=face_warping"]
    if data and not (Path(data) / "AF_dataset").is_dir():
        # Not the whole tree: what is small enough to be carried.
        words += ["--setting=own", f"--source={data}/300W/afw", f"--target={data}/CariFace_dataset"]
        words += [f"--test={data}/300W/lfpw/testset", "--landmarker=slpt"]
    else:
        words += ["--setting=da_cariface", *([f"--data={data}", "--data.strict_counts=false"] if data else [])]
    words += ["--model.init_args.landmarker.init_args.pretrained=false", "--pretraining.max_epochs=2"]
    words += ["--model.init_args.warper_epochs=1", "--model.init_args.proximal_epochs=1"]
    if not cuda:
        words += ["--landmarker=integral", "--data.steps_per_epoch=2", "--data.num_workers=0"]
        return [*words, "--trainer.max_epochs=2"]
    words += ["--trainer.precision=bf16-mixed", "--data.batch_size=64", "--data.num_workers=12"]
    return [*words, "--trainer.check_val_every_n_epoch=2"]


def _alone(part: Part, device: torch.device, folder: Path) -> Path:
    """Run a part in this process; what is found is written at once, and what fails leaves the rest as it is."""
    path, found = folder / f"{part}.json", []
    with tempfile.TemporaryDirectory() as scratch:
        for what, findings in _looked_at(device, Path(scratch))[part].items():
            try:
                for finding in findings:
                    found.append(finding)
                    write_findings(path, found)
            except Exception as error:
                log.exception("%s", what)
                found.append(Finding(what, f"{type(error).__name__}: {str(error).splitlines()[:1]}", False))
                write_findings(path, found)
    return path


def _looked_at(device: torch.device, scratch: Path) -> Mapping[Part, Mapping[str, Iterator[Finding]]]:
    cuda = device.type == "cuda"
    full = network_findings(device, "full", (16, 64, 128, 256), _WANTED)
    return {
        "figures": {
            "machine": machine_findings(device),
            "spline": spline_findings(device),
            "network": full if cuda else network_findings(device, "light", (1, 2)),
        },
        "checks": {
            "landmarkers": landmarker_findings(device),
            "resume": resume_findings(device, scratch / "resume"),
            "methods": method_findings(device, scratch / "methods"),
        },
    }


def _run(name: str, plan: Plan, folder: Path, left: float) -> PartReport:
    """A part in a process of its own, stopped when its time is up."""
    began, allowed = time.monotonic(), min(plan.seconds, left)
    log_file = folder / f"{name}.log"
    with log_file.open("w") as log_to:
        words = [sys.executable, "-m", "experiments", *plan.words]
        process = subprocess.Popen(words, stdout=log_to, stderr=subprocess.STDOUT)
        ended = _ended(process, allowed)
    tables = sorted((folder / name).glob("*.md")) if (folder / name).is_dir() else []
    findings = read_findings(folder / f"{name}.json") + run_lines(folder / name)
    said = [] if ended == "done" else log_file.read_text(errors="replace").splitlines()[-15:]
    return PartReport(name, ended, time.monotonic() - began, findings, [path.read_text() for path in tables], said)


def _ended(process: "subprocess.Popen[bytes]", allowed: float) -> str:
    try:
        status = process.wait(allowed)
    except subprocess.TimeoutExpired:
        # As Ctrl-C, upon which training saves what it has; then for good.
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        return f"stopped after {allowed:.0f} s"
    return "done" if status == 0 else f"FAILED (status {status})"
