"""The landmarkers' benchmark; nothing here is about how long anything takes."""

from collections.abc import Callable

import pytest
import torch
from rich.console import Console

from experiments.bench import landmarkers as bench
from experiments.bench.measuring import Seconds
from experiments.catalogue import names
from lightning_modules.landmarkers import Integral
from tests.experiments.helpers import refused

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def landmarker() -> Integral:
    return Integral(image_size=64, backbone="mobilenetv3_small_050", feature_dim=16).eval()


@pytest.mark.parametrize("name", names("landmarker"))
def test_the_light_form_is_the_shipped_one(name: str) -> None:
    light = bench.build(name, "light")
    assert light.image_size == 128
    assert not light.training


def test_every_variant_finds_the_same_landmarks(landmarker: Integral) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ways = bench.variants(landmarker, ["eager", "channels_last", "bf16"], CPU)
    with torch.inference_mode():
        expected = landmarker(images)
        for name in ("eager", "channels_last"):
            torch.testing.assert_close(ways[name](images).landmarks, expected.landmarks, atol=1e-4, rtol=0, msg=name)
        # Heatmaps of an untrained network have no peaks to speak of, so landmarks may jump.
        half = ways["bf16"](images).heatmaps
    assert half.dtype == torch.bfloat16
    both = torch.stack([half.flatten().float(), expected.heatmaps.flatten()])
    assert both.corrcoef()[0, 1] > 0.99


def test_times_are_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that counts calls, the best of the rounds over the batch size."""
    taken = iter([9.0, 4.0, 2.0, 3.0])

    def seconds(work: Callable[[], object], device: torch.device) -> Seconds:
        work()
        return Seconds(next(taken), 0.0)

    monkeypatch.setattr(bench, "seconds", seconds)
    sizes = []
    calls = {("light", "eager"): lambda images: sizes.append(tuple(images.shape))}
    found = bench.milliseconds(calls, {"light": 32}, 4, 3, CPU)
    assert found == {("light", "eager"): 1e3 * 2.0 / 4}
    assert sizes == [(4, 3, 32, 32)] * 4


def test_a_table(monkeypatch: pytest.MonkeyPatch, landmarker: Integral) -> None:
    monkeypatch.setattr(bench, "build", lambda name, form: landmarker)
    console = Console(record=True, width=120)
    console.print(bench.measure("integral", ["light", "full"], ["eager"], [], [1, 2], 1, CPU))
    text = console.export_text()
    assert "light, 64 px, eager" in text
    full = next(line for line in text.splitlines() if "full, 64 px, eager" in line)
    assert full.count("(1.0)") == 2


def test_a_landmarker_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'integral'" in refused(capsys, "bench-landmarkers", "--landmarkers", "integrol")
