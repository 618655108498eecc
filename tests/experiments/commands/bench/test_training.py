"""The published loop's parts beside independent numbers, ours beside theirs, and the tables; no time is tested."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates, sobel
from torch import Tensor

from datamodules.datasets import CariFaceDataModule, FolderDataModule
from datamodules.faces import FaceBatch, collate
from datamodules.ibug68 import FLIP_PERMUTATION
from datamodules.transforms import FaceTransform
from experiments.bench import our_loop, published, training
from experiments.bench.faces_on_disk import FaceFolders, write_faces
from experiments.bench.measuring import Lap, ratios
from experiments.bench.our_loop import OurLoop, StepClock
from experiments.bench.training import Bench, Compared, Scaled
from experiments.bench.warp import COPY, KORNIA, PUBLISHED, WarpCost
from experiments.commands.bench._tables import phase_table, scaling_table, warp_table
from lightning_modules.landmarkers import SLPT
from lightning_modules.warping import GradientMSE, PolyharmonicSpline
from tests.conftest import TINY_LANDMARKER
from tests.experiments.helpers import refused

CPU = torch.device("cpu")
REAL = Path(__file__).parents[5] / "shared/data"


def points(count: int, faces: int = 2) -> tuple[Tensor, Tensor]:
    """Landmarks of stylised faces and of photos, in pixels of a 32-pixel crop, no two of a face too close."""
    rng = np.random.default_rng(0)
    across = np.stack(np.meshgrid(*[np.linspace(4, 27, 6)] * 2), -1).reshape(-1, 2)[:count]
    stylised = torch.from_numpy(across + rng.uniform(-1, 1, (faces, count, 2)))
    return stylised, stylised + torch.from_numpy(rng.normal(0, 1.5, stylised.shape))


def test_the_flow_is_scipys_thin_plate_spline() -> None:
    stylised, photo = points(30)
    flow = published.published_flow(photo, stylised, 32).numpy()
    y, x = np.mgrid[:32, :32]
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    for i in range(2):
        spline = RBFInterpolator(stylised[i].numpy(), (stylised - photo)[i].numpy(), kernel="thin_plate_spline")
        np.testing.assert_allclose(flow[i].reshape(-1, 2), spline(pixels), atol=1e-6)


def test_colours_are_mixed_as_by_scipy() -> None:
    rng = np.random.default_rng(1)
    image, flow = rng.random((1, 2, 16, 16)), rng.normal(0, 6, (1, 16, 16, 2))
    y, x = np.mgrid[:16, :16]
    # Far beyond the border too: there, the border's colour.
    where = [(y - flow[0, ..., 1]).clip(0, 15), (x - flow[0, ..., 0]).clip(0, 15)]
    expected = np.stack([map_coordinates(channel, where, order=1) for channel in image[0]])
    found = published.sample_detached(torch.from_numpy(image), torch.from_numpy(flow))
    np.testing.assert_allclose(found.detach()[0].numpy(), expected, atol=1e-9)


def test_its_gradient_does_not_reach_the_landmarks() -> None:
    stylised, photo = points(30)
    stylised = stylised.float().requires_grad_()
    image = torch.rand(2, 3, 32, 32)
    warped = published.published_warp(image, photo.float(), stylised)
    assert torch.autograd.grad(warped.square().mean(), stylised, allow_unused=True) == (None,)
    through = published.published_warp(image, photo.float(), stylised, detached=False)
    torch.testing.assert_close(through, warped)
    assert torch.autograd.grad(through.square().mean(), stylised)[0].abs().max() > 0


def test_losses_by_hand() -> None:
    rng = np.random.default_rng(2)
    estimates, target = rng.random((3, 2, 68, 2)), rng.random((3, 68, 2))
    apart = np.linalg.norm(estimates - target[:, None], axis=-1).mean(-1)
    expected = (apart / np.linalg.norm(target[:, 36] - target[:, 45], axis=-1)[:, None]).mean()
    found = published.alignment_loss(torch.from_numpy(estimates), torch.from_numpy(target))
    assert float(found) == pytest.approx(expected)

    def edges(image: np.ndarray) -> np.ndarray:
        grey = np.tensordot([0.299, 0.587, 0.114], image, 1)
        # Kornia's kernels are an eighth of scipy's.
        return np.sqrt((sobel(grey, 0, mode="nearest") / 8) ** 2 + (sobel(grey, 1, mode="nearest") / 8) ** 2 + 1e-6)

    a, b = rng.random((2, 3, 12, 12))
    found = published.gradient_loss(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    assert float(found) == pytest.approx(float(((edges(a) - edges(b)) ** 2).mean()), rel=1e-5)


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="the real faces are not here")
def test_on_real_faces_its_warp_is_ours() -> None:
    """In float64; in its own float32 it is off by up to some hundredths where landmarks are less than a pixel apart."""
    photos = FolderDataModule(str(REAL / "paper/300W/afw"), limit=4).train_faces()
    stylised = CariFaceDataModule(str(REAL / "caricatures"), strict_counts=False).test_faces()
    crop = FaceTransform(128)
    source, target = (collate([crop(faces[i], i, None) for i in range(4)]).to("cpu") for faces in (photos, stylised))
    assert source.landmarks is not None
    assert target.landmarks is not None
    near = (torch.cdist(target.landmarks, target.landmarks) + torch.eye(68)).amin((1, 2))
    assert (near > 0).all()  # coinciding landmarks leave its system without a solution
    ours = PolyharmonicSpline.fit(target.landmarks, source.landmarks).warp(source.images, None)
    exact = published.published_warp(
        source.images.double(), 128 * source.landmarks.double(), 128 * target.landmarks.double()
    )
    torch.testing.assert_close(exact.float(), ours, atol=1e-3, rtol=0)
    rounded = published.published_warp(source.images, 128 * source.landmarks, 128 * target.landmarks)
    assert float((rounded - ours).detach().abs().mean()) < 1e-3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> FaceFolders:
    """Eight drawn photos and eight caricatures."""
    return write_faces(tmp_path_factory.mktemp("faces") / "drawn", 8, 96)


@pytest.fixture(scope="module")
def bench(folders: FaceFolders) -> Iterator[Bench]:
    tiny = {"class_path": "lightning_modules.landmarkers.SLPT", "init_args": dict(TINY_LANDMARKER)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(our_loop, "shipped_spec", lambda name, profile: copy.deepcopy(tiny))
        yield Bench(folders, "light", CPU, "cpu", batch=4, steps=1, rounds=1, overrides={"data.num_workers": "0"})


@pytest.fixture(scope="module")
def loops(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[OurLoop, published.PublishedLoop]:
    return bench.loops(tmp_path_factory.mktemp("loops"))


def test_plain_crops_are_ours(folders: FaceFolders) -> None:
    faces = FolderDataModule(str(folders.photos)).train_faces()
    crops = published.PublishedFaces(published.read_records(faces), 64)
    for i in range(len(faces)):
        ours, theirs = FaceTransform(64)(faces[i], i, None), crops[i]
        torch.testing.assert_close(theirs.image * 0.5 + 0.5, ours.image, atol=1.5 / 255, rtol=0)
        np.testing.assert_allclose(theirs.landmarks, ours.landmarks, atol=1e-5)
        np.testing.assert_allclose(theirs.matrix, ours.matrix, atol=1e-3)


def test_varied_crops_keep_their_landmarks(folders: FaceFolders) -> None:
    """Pixels under the landmarks are, by their matrix, those of the photo; mirrored crops swap left and right."""
    faces = FolderDataModule(str(folders.photos)).train_faces()
    crops = published.PublishedFaces(published.read_records(faces), 64, varied=True)
    np.random.seed(0)  # noqa: NPY002
    mirrored = []
    for _ in range(4):
        for i in range(len(faces)):
            crop = crops[i]
            moved = faces[i].landmarks @ crop.matrix[:, :2].T + crop.matrix[:, 2]
            turned = np.stack([63 - moved[:, 0], moved[:, 1]], 1)[list(FLIP_PERMUTATION)]
            off = [np.abs(crop.landmarks * 64 - each).max() for each in (moved, turned)]
            assert min(off) < 1e-3
            mirrored.append(off[1] < off[0])
            scale = np.sqrt(np.linalg.det(crop.matrix[:, :2]))
            factor = 64 / scale / np.ptp(faces[i].landmarks, 0).max()
            assert 1.149 < factor < 1.251
    assert 0 < sum(mirrored) < len(mirrored)


def test_the_losses_are_ours(loops: tuple[OurLoop, published.PublishedLoop]) -> None:
    ours, theirs = loops
    faces = ours.data.source_faces
    batch = collate([FaceTransform(ours.data.image_size)(faces[i], i) for i in range(3)]).to("cpu")
    assert batch.landmarks is not None
    ours.landmarker.eval()
    theirs.landmarker.load_state_dict(ours.landmarker.state_dict())
    theirs.landmarker.eval()
    with torch.no_grad():
        mine = ours.method.supervised_loss(batch)
        torch.testing.assert_close(theirs.label_loss(batch.images * 2 - 1, batch.landmarks), mine)
    # The image term, on images of one range; theirs are in [-1, 1], where it is 4 times as large but for a constant.
    stylised = batch.images.flip(0)
    warped = published.published_warp(batch.images, 64 * batch.landmarks, 64 * batch.landmarks.flip(0) + 0.5)
    torch.testing.assert_close(published.gradient_loss(warped, stylised), GradientMSE()(warped, stylised).mean())
    assert isinstance(batch, FaceBatch)
    assert isinstance(ours.landmarker, SLPT)


def test_every_phase_in_both_loops(
    bench: Bench, loops: tuple[OurLoop, published.PublishedLoop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "peak_bytes", lambda work, device: work() and 1)
    before = copy.deepcopy(loops[1].landmarker.state_dict())
    loops[0].landmarker.train()
    found = dict(bench.phases(*loops, tmp_path))
    assert all(module.training for module in loops[0].landmarker.modules()), "it would train on with stored statistics"
    assert list(found) == [
        "pseudo landmarks",
        "pseudo landmarks, batches of 4 of which 1 is kept",
        "pretraining",
        "warper",
        "proximal",
    ]
    for name, one in found.items():
        assert [lap.images for lap in one.theirs] == [4]
        assert one.ours[0].images == (4 if "pseudo" not in name else 8)
        assert all(0 <= lap.waiting <= lap.seconds for lap in [*one.theirs, *one.ours])
        assert one.their_bytes
        assert one.our_bytes
        assert one.network > 0
    assert len(list(tmp_path.glob("*.npy"))) > 0
    after = loops[1].landmarker.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    (scaled,) = bench.scaling(loops[0], [2])
    assert [lap.images for lap in scaled.laps] == [4]


def test_the_warper_phase_moves_batch_norm_alone(loops: tuple[OurLoop, published.PublishedLoop]) -> None:
    theirs = loops[1]
    before = copy.deepcopy(dict(theirs.landmarker.named_parameters()))
    theirs.adams["warper"].state.clear()
    theirs.landmarker.zero_grad(set_to_none=True)
    theirs.warper(2)
    for name, parameter in theirs.landmarker.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_a_clock_that_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that wait a tick and take three more: a lap of two after one that warms up."""
    ticks = iter(range(100))
    monkeypatch.setitem(our_loop.READ, "cpu", lambda: float(next(ticks)))
    clock = StepClock(warm=1, steps=2, clock="cpu", device=CPU)
    for _ in range(4):
        clock.start("[_TrainingEpochLoop].train_dataloader_next")
        clock.stop("[_TrainingEpochLoop].train_dataloader_next")
        clock.stop("[Strategy]SingleDeviceStrategy.batch_to_device")
    lap = clock.lap(4)
    # The clock is read twice a step: asked, and there.
    assert lap == Lap(images=8, seconds=4.0, waiting=2.0)
    assert lap.waiting_share == pytest.approx(50)


def laps(*seconds: float) -> list[Lap]:
    return [Lap(4, each, each / 4) for each in seconds]


def test_ratios_are_of_the_same_round() -> None:
    assert ratios(laps(1, 4), laps(2, 12)) == [2, 3]


def test_the_tables_from_made_up_times(tmp_path: Path) -> None:
    found = Compared(laps(2, 2, 2), laps(1, 0.5, 1), Lap(4, 4, 3), network=0.125, their_bytes=2**20, our_bytes=2**21)
    table = phase_table("SYNTHETIC", {"warper": found})
    row = dict(zip(table.head, map(str, table.rows[0]), strict=True))
    assert row["published, images/s"] == "2.00"
    assert row["times as fast"] == "2.67 ± 1.15"
    assert row["network alone would be"] == "4.00"
    assert (row["published waits, %"], row["ours waits at first, %"], row["ours waits, %"]) == ("25.0", "75.0", "25.0")
    assert (row["published, peak MiB"], row["ours, peak MiB"]) == ("1", "2")
    scaled = scaling_table("SYNTHETIC", [Scaled(8, laps(0.5, 1), 2**20)], found.theirs)
    assert list(map(str, scaled.rows[0])) == ["8", "6.00 ± 2.83", "3.00 ± 1.41", "25.0", "1"]
    costs = {
        PUBLISHED: WarpCost([0.4, 0.6], None, 2**20),
        KORNIA: WarpCost([0.2, 0.2], [0.8, 0.8], 2**20),
        "ours": WarpCost([0.1, 0.1], [0.1, 0.2], 2**20),
        COPY: WarpCost([0.05, 0.05], None, 0),
    }
    rows: dict[str, Any] = {str(row[0]): [str(entry) for entry in row[1:]] for row in warp_table("", costs).rows}
    assert rows["ours"][:3] == ["100.00", "5.00 ± 1.41", "2.0"]
    assert rows["ours"][4] == "6.00 ± 2.83"
    assert rows[PUBLISHED][3] == "None"
    phase_table("SYNTHETIC", {"warper": found}).write(tmp_path / "phases")
    assert "times as fast, sd" in (tmp_path / "phases.csv").read_text()


def test_what_it_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert "at least as many faces" in refused(capsys, "bench-training", "--faces", "2")
    assert "found 'warpr'" in refused(capsys, "bench-training", "--phases", "warpr")
