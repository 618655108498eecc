"""The benchmark's parts, on small images; nothing here is about how long anything takes."""

import pytest
import torch

from experiments.bench import warp as bench
from experiments.commands.bench.warp import bench_warp
from lightning_modules.warping import PixelMSE, pixel_grid, warp_image

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces() -> bench.Faces:
    return bench.drawn_faces(2, 64, CPU)


def test_peak_memory_is_what_is_held_at_once() -> None:
    def work() -> torch.Tensor:
        first = torch.ones(2**18)  # 1 MiB
        second = first * 2
        del first
        return second + torch.ones(2**17)[:1]  # 1 + 0.5 + 1 MiB

    assert bench.peak_bytes(work, CPU) == pytest.approx(2.5 * 2**20, rel=1e-3)


def test_the_gradient_is_the_landmarks(faces: bench.Faces) -> None:
    for warp in (bench.kornias, bench.ours(None), bench.ours(9), bench.sampling_alone(faces)):
        gradient = bench.landmark_gradient(warp, faces, PixelMSE())
        assert gradient.shape == (2, 68, 2)
        assert gradient.isfinite().all()


def test_all_candidates_warp_the_same_pixels(faces: bench.Faces) -> None:
    # Identical landmarks: every candidate must give the photo back, whatever its frame.
    still = bench.Faces(faces.photos, faces.predicted.detach(), faces.stylised, faces.predicted)
    for warp in (bench.kornias, bench.ours(None), bench.ours(9)):
        torch.testing.assert_close(warp(still), still.photos, rtol=0, atol=2e-3)
    identity = pixel_grid(64).expand(2, -1, -1, -1)
    torch.testing.assert_close(
        bench.sampling_alone(still)(still), warp_image(still.photos, identity), rtol=0, atol=2e-3
    )


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    bench_warp(size=64, batches=(1, 2), repeats=1, device="cpu")
    printed = capsys.readouterr().out
    for said in ("SYNTHETIC", "batch 1", "batch 2", "kornia", "exact", "fast", "floor", "pixel difference", "cosine"):
        assert said in printed
