from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.coordinates import cell_centre
from lightning_modules.landmarkers import STAR
from lightning_modules.landmarkers.heatmaps import gaussian_heatmaps
from lightning_modules.landmarkers.hourglass import CoordConv, coordinate_channels
from lightning_modules.landmarkers.reference_shape import MEAN_FACE
from lightning_modules.landmarkers.star.edges import edge_maps
from lightning_modules.landmarkers.star.losses import adaptive_wing_loss, star_loss
from lightning_modules.weights import WeightsError

TINY: dict[str, Any] = {"image_size": 64, "channels": 16, "stacks": 2, "levels": 2}


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tiny() -> STAR:
    torch.manual_seed(0)
    return STAR(**TINY).eval()


def test_it_gives_every_stack_its_maps_and_uncertainties(tiny: STAR) -> None:
    output = tiny(rand(2, 3, 64, 64))
    assert output.stages.shape == (2, 2, 68, 2)
    assert output.heatmaps.shape == (2, 68, 16, 16)
    assert output.uncertainty.shape == (2, 68)
    assert [m.edgemaps.shape for m in output.maps] == [(2, 9, 16, 16)] * 2
    assert [m.pointmaps.shape for m in output.maps] == [(2, 68, 16, 16)] * 2
    assert (output.heatmaps >= 0).all()
    torch.testing.assert_close(tiny.features(rand(2, 3, 64, 64)), output.maps[-1].features)


def test_images_go_in_blue_first(tiny: STAR) -> None:
    images = rand(2, 3, 64, 64)
    torch.testing.assert_close(tiny.features(images), tiny._maps(images[:, [2, 1, 0]] * 2 - 1)[-1].features)


def test_uncertainty_is_the_heatmaps_standard_deviation(tiny: STAR) -> None:
    """In crop coordinates: a Gaussian of 2 of 64 cells spans 2/63 of the crop's side, as the positions do."""
    maps = gaussian_heatmaps(torch.full((1, 68, 2), 0.5), (64, 64), sigma=2.0)
    x = torch.linspace(0, 1, 64)
    weights = maps[0, 0].sum(0) / maps[0, 0].sum()
    expected = ((weights * (x - (weights * x).sum()).square()).sum()).sqrt()
    tiny_maps = tiny._maps

    def exact(images: torch.Tensor) -> Any:
        found = tiny_maps(images)
        found[-1].attended = maps
        return found

    tiny._maps = exact  # type: ignore[method-assign]
    try:
        uncertainty = tiny(rand(1, 3, 64, 64)).uncertainty
    finally:
        tiny._maps = tiny_maps  # type: ignore[method-assign]
    torch.testing.assert_close(uncertainty, expected.expand(1, 68), rtol=0.03, atol=0)


def test_its_loss_weighs_stacks_and_maps(tiny: STAR) -> None:
    output, target = tiny(rand(2, 3, 64, 64)), torch.tensor(MEAN_FACE) + 0.05 * rand(2, 68, 2)
    weight = torch.tensor([1.0, 0.25])
    edges = edge_maps(target, (16, 16))
    points = gaussian_heatmaps(target, (16, 16), 1.5 / 4, cell_centre(4))
    each = torch.zeros(2)
    for maps, share in zip(output.maps, (0.5, 1.0), strict=True):
        of_maps = adaptive_wing_loss(maps.edgemaps, edges) + adaptive_wing_loss(maps.pointmaps, points)
        each += share * (star_loss(maps.attended, (2 * target * 64 + 1) / 64 - 1) + 10 * of_maps)
    torch.testing.assert_close(tiny.loss(output, target, weight), (each * weight).sum() / weight.sum())
    assert tiny.loss(output, target, torch.zeros(2)).item() == 0


def test_empty_heatmaps_leave_finite_gradients(tiny: STAR) -> None:
    output, target = tiny(rand(2, 3, 64, 64)), torch.tensor(MEAN_FACE).expand(2, 68, 2)
    empty = torch.zeros_like(output.heatmaps).requires_grad_()
    for maps in output.maps:
        maps.attended = empty
    tiny.loss(output, target).backward()
    assert empty.grad is not None
    assert empty.grad.isfinite().all()


def test_coordinates_are_row_column_and_distance() -> None:
    row, column, radius = coordinate_channels(torch.zeros(1, 1, 3, 5))[0]
    torch.testing.assert_close(row[:, 2], torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(column[1], torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))
    torch.testing.assert_close(radius[[0, 1, 1], [0, 2, 3]], torch.tensor([1.0, 0.0, 0.5 / 2**0.5]))


def test_a_boundary_shows_coordinates_where_its_heatmap_is() -> None:
    conv = CoordConv(1, 1, boundary=True)
    conv.weight.data = torch.tensor([0.0, 0, 0, 0, 1, 10]).view(1, 6, 1, 1)
    conv.bias = None
    heatmap = torch.zeros(1, 1, 3, 3)
    heatmap[0, 0, 0, 2], heatmap[0, 0, 2, 0] = 0.5, 0.04
    expected = torch.zeros(3, 3)
    expected[0, 2] = -1 + 10
    torch.testing.assert_close(conv(torch.zeros(1, 1, 3, 3), heatmap)[0, 0], expected)


def test_a_model_of_other_landmarks_is_refused_with_its_differences(tmp_path: Path) -> None:
    """STAR is also published for WFLW's 98 landmarks."""
    state = {"e2h_transform.weight": torch.zeros(98, 9, 1, 1), "out_heatmaps.0.conv.weight": torch.zeros(98, 16, 1, 1)}
    torch.save({"net": state}, tmp_path / "WFLW.pkl")
    message = r"WFLW\.pkl \(the published STAR\)(.*\n)*.*\.\.\. and \d+ more|stacks\.0\.heatmaps\.weight: shape \(98"
    with pytest.raises(WeightsError, match=message):
        STAR(**TINY, weights=str(tmp_path / "WFLW.pkl"))
