"""Which images of a batch are changed, and that the others are left alone."""

import pytest
import torch

from lightning_modules.augment.selection import change_selected, require_share, select


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_each_image_is_drawn_by_itself(share: float) -> None:
    """In small batches too: a tenth of four photos is neither none nor a whole one."""
    torch.manual_seed(0)
    drawn = torch.stack([select(share, 4) for _ in range(1000)]).double()
    assert drawn.mean(0).tolist() == pytest.approx([share] * 4, abs=0.06 * (0 < share < 1))
    assert drawn.sum(1).std() == pytest.approx((4 * share * (1 - share)) ** 0.5, abs=0.1)


def test_the_others_stay() -> None:
    values, chosen = torch.rand(4, 2), torch.tensor([True, False, False, True])
    found = change_selected(chosen, values, lambda x: (x + 1).double())
    assert found.dtype == values.dtype
    torch.testing.assert_close(found - values, chosen.float()[:, None].expand(-1, 2))
    assert change_selected(~chosen & chosen, values, lambda x: x / 0) is values


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_named(share: float) -> None:
    with pytest.raises(ValueError, match="part: found"):
        require_share("part", share)
    assert require_share("part", 0.3) == 0.3
