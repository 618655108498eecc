"""SPIGA's steps against the published formulas, written down plainly."""

import torch
import torch.nn.functional as F

from lightning_modules.landmarkers.patches import sample_windows
from lightning_modules.landmarkers.spiga.graph_attention import HEADS, GraphAttention, StepRegressor, relative_positions
from tests.lightning_modules.landmarkers.training import rand


def test_attention_is_the_published_sum_over_nodes() -> None:
    torch.manual_seed(0)
    layer, nodes = GraphAttention(16, 8).eval(), rand(2, 16, 5) - 0.5
    query, key, value = (project(nodes) for project in layer.project)
    message = torch.zeros(2, 16, 5)
    for head in range(HEADS):
        channels = slice(head, None, HEADS)  # a head's channels are every fourth
        scores = torch.einsum("bdn,bdm->bnm", query[:, channels], key[:, channels]) / 4**0.5
        message[:, channels] = torch.einsum("bnm,bdm->bdn", scores.softmax(-1), value[:, channels])
    merged = torch.cat([nodes, layer.merge(message)], 1)
    torch.testing.assert_close(layer(nodes), layer.shortcut(nodes) + layer.message(merged))


def test_a_step_does_not_care_about_the_order_of_its_nodes() -> None:
    torch.manual_seed(0)
    step, nodes = StepRegressor(16, 8, 2).eval(), rand(2, 16, 68)
    order = torch.randperm(68)
    torch.testing.assert_close(step(nodes[..., order]), step(nodes)[:, order])


def test_a_step_moves_by_one_at_most() -> None:
    step = StepRegressor(16, 8, 1).eval()
    with torch.no_grad():
        step.decoder[-1].bias.copy_(torch.tensor([5.0, -0.25]))
        step.decoder[-1].weight.zero_()
    torch.testing.assert_close(step(rand(2, 16, 68)), torch.tensor([1.0, -0.25]).expand(2, 68, 2))


def test_relative_positions_leave_out_the_landmark_itself() -> None:
    landmarks = rand(2, 5, 2)
    found = relative_positions(landmarks)
    assert found.shape == (2, 8, 5)
    for i in range(5):
        expected = torch.cat([landmarks[:, i] - landmarks[:, j] for j in range(5) if j != i], dim=1)
        torch.testing.assert_close(found[:, :, i], expected)


def test_windows_are_the_published_affine_grids() -> None:
    features, centres = rand(2, 3, 64, 64), 1.2 * rand(2, 68, 2) - 0.1
    for share in (1 / 4, 1 / 8, 1 / 16):
        found = sample_windows(features, centres, (share * 64 - 1) / 128, 7)
        scale = 7 / 64 * (share * 64 - 1) / 6
        middle = (2 * (centres + 0.5 / 64) - 1).flatten(0, 1)
        theta = torch.cat([(scale * torch.eye(2)).expand(len(middle), 2, 2), middle[..., None]], -1)
        grid = F.affine_grid(theta, [len(middle), 3, 7, 7], align_corners=False)
        each = F.grid_sample(
            features.repeat_interleave(68, 0), grid, padding_mode="border", align_corners=False
        ).unflatten(0, (2, 68))
        torch.testing.assert_close(found, each, atol=1e-4, rtol=0)


def test_windows_differentiate_through_where_they_lie() -> None:
    features = rand(1, 2, 8, 8).double().requires_grad_()
    centres = (0.31 + 0.3 * rand(1, 3, 2)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, c: sample_windows(f, c, 0.11, 3), (features, centres))
