"""``import-weights``: published files of every landmarker that has some, and files that are something else."""

from pathlib import Path

import pytest
import torch

from lightning_modules.landmarkers import SLPT, STAR
from lightning_modules.landmarkers.backbone_landmarker import NORMALIZATION
from tests.experiments.commands.test_evaluate import Dangerous
from tests.experiments.helpers import TINY_LANDMARKER, refused, run, write_config
from tests.lightning_modules.landmarkers.test_published import published_state

SMALL_STAR = {"channels": 16, "stacks": 2, "levels": 2, "image_size": 64}
STAR_OPTIONS = [f"--init_args.{name}={value}" for name, value in SMALL_STAR.items()]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A small STAR as its authors' program saves it."""
    state = published_state(STAR(**SMALL_STAR))
    path = tmp_path / "300W_STARLoss.pkl"
    torch.save({"net": {f"module.{name}": value for name, value in state.items()}, "epoch": 7}, path)
    return path


def test_published_weights_come_out_under_our_names(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "star.pt"
    run("import-weights", "--landmarker=star", f"--from={published}", f"--to={out}", *STAR_OPTIONS)
    message = capsys.readouterr().err
    assert f"Wrote {out}" in message
    assert "all those of lightning_modules.landmarkers.STAR" in message
    expected = STAR(**SMALL_STAR, weights=str(published)).state_dict()
    found = torch.load(out, weights_only=True)
    assert set(found) == set(expected)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    # What it wrote is read in turn.
    run("import-weights", "--landmarker=star", f"--from={out}", f"--to={tmp_path / 'again.pt'}", *STAR_OPTIONS)
    assert set(torch.load(tmp_path / "again.pt", weights_only=True)) == set(expected)


def test_files_of_something_else_are_refused(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(landmarker: str, source: Path, *options: str) -> str:
        return refused(
            capsys,
            "import-weights",
            f"--landmarker={landmarker}",
            f"--from={source}",
            f"--to={tmp_path / 'out.pt'}",
            *options,
        )

    assert "does not hold the weights of this HRNet" in message("hrnet", published)
    assert "  stacks.2.coordinates.weight: missing" in message("star", published, *STAR_OPTIONS, "--init_args.stacks=3")
    cut = tmp_path / "cut.pkl"
    cut.write_bytes(published.read_bytes()[:1000])
    assert "cut.pkl (1000 bytes) cannot be read as weights" in message("star", cut)
    evil = tmp_path / "evil.pkl"
    torch.save({"net": Dangerous(tmp_path / "made")}, evil)
    assert "could run code" in message("star", evil)
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "out.pt").exists()


def test_mistakes(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"--from={published}"
    command = "import-weights"
    assert "Did you mean 'star'" in refused(capsys, command, "--landmarker=starr", source)
    assert "PROFILE=fast is not known" in refused(capsys, command, "--landmarker=star", source, "--profile=fast")
    assert "no such file" in refused(capsys, command, "--landmarker=star", f"--from={tmp_path / 'absent'}")
    assert "is a file to read" in refused(capsys, command, "--landmarker=star", source, f"--to={published}")
    message = refused(capsys, command, "--landmarker=star", source, "--init_args.stakcs=2")
    assert "Did you mean 'stacks'" in message
    message = refused(capsys, command, "--landmarker=slpt", source, "--init_args.num_heads=3")
    assert "num_heads=3 does not divide" in message
    assert "--from must be given" in refused(capsys, command, "--landmarker=star")


def test_an_option_of_the_landmarker_fills_what_the_file_lacks(
    tmp_path: Path, tiny_landmarker_args: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """The published SLPT comes with its mean face in a file of its own."""
    landmarker = SLPT(**tiny_landmarker_args)  # type: ignore[arg-type]
    torch.save(landmarker.state_dict(), tmp_path / "slpt.pt")
    options = [f"--init_args.{name}={value}" for name, value in tiny_landmarker_args.items()]
    run("import-weights", "--landmarker=slpt", f"--from={tmp_path / 'slpt.pt'}", f"--to={tmp_path / 'o.pt'}", *options)
    found = torch.load(tmp_path / "o.pt", weights_only=True)
    assert all(torch.equal(value, found[name]) for name, value in landmarker.state_dict().items())


@pytest.mark.parametrize(
    ("profile", "said", "other"),
    [
        ([], "the published program's, since the file does not say", "--profile=paper (files of conditional face warp"),
        (["--profile=paper"], "PROFILE=paper's, since the file does not say", "no --profile"),
        (["--profile=quick"], "PROFILE=quick's, since the file does not say", "--profile=paper"),
    ],
)
def test_the_normalisation_of_the_form_goes_with_the_weights(
    profile: list[str],
    said: str,
    other: str,
    tmp_path: Path,
    tiny_landmarker_args: dict[str, object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a file that does not hold one: SLPT's own program has ImageNet's, conditional face warping's one half."""
    landmarker = SLPT(**tiny_landmarker_args)  # type: ignore[arg-type]
    state = {name: value for name, value in landmarker.state_dict().items() if name not in NORMALIZATION}
    torch.save(state, tmp_path / "slpt.pth")
    options = [f"--init_args.{name}={value}" for name, value in tiny_landmarker_args.items()]
    files = [f"--from={tmp_path / 'slpt.pth'}", f"--to={tmp_path / 'o.pt'}"]
    run("import-weights", "--landmarker=slpt", *profile, *files, *options)
    message = capsys.readouterr().err
    again = SLPT(**tiny_landmarker_args, weights=str(tmp_path / "o.pt"))  # type: ignore[arg-type]
    half = profile == ["--profile=paper"]
    assert again.image_mean.flatten().tolist() == pytest.approx([0.5] * 3 if half else [0.485, 0.456, 0.406])
    assert again.image_std.flatten().tolist() == pytest.approx([0.5] * 3 if half else [0.229, 0.224, 0.225])
    assert f"mean {[0.5] * 3 if half else [0.485, 0.456, 0.406]}" in message
    assert said in message
    assert other in message
    # What it wrote says so itself, and keeps it under another form.
    run("import-weights", "--landmarker=slpt", f"--from={tmp_path}/o.pt", f"--to={tmp_path}/p.pt", *options)
    assert ", as the file says." in capsys.readouterr().err
    kept = torch.load(tmp_path / "p.pt", weights_only=True)["image_mean"]
    assert torch.equal(kept, again.image_mean)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"conv.weight": torch.zeros(1)}, "does not hold the weights of this SLPT"),
        (None, "there is no weights file"),
    ],
)
def test_a_run_refuses_bad_weights_with_a_message(
    content: object, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pt"
    if content:
        torch.save(content, path)
    small = write_config(tmp_path / "small.yaml", {"model": {"init_args": {"landmarker": TINY_LANDMARKER}}})
    weights = f"--model.init_args.landmarker.init_args.weights={path}"
    assert expected in refused(capsys, "train", small, f"--paths.runs={tmp_path}", weights)
