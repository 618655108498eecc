"""The image pool: fills first, then exchanges half of the time; repeatable, and kept in checkpoints."""

from pathlib import Path

import pytest
import torch

from lightning_modules.translation import ImagePool


def images(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 2, 2).clone()


def handed_out(pool: ImagePool, values: range) -> list[int]:
    return [int(pool(images(value))[0, 0, 0, 0]) for value in values]


def test_it_fills_first() -> None:
    pool = ImagePool(5)
    given = images(0, 1, 2)
    assert torch.equal(pool(given), given)
    assert handed_out(pool, range(3, 5)) == [3, 4]
    assert [int(image[0, 0, 0]) for image in pool.images] == [0, 1, 2, 3, 4]


def test_then_half_of_what_comes_back_is_older() -> None:
    pool = ImagePool(50, torch.Generator().manual_seed(0))
    out = handed_out(pool, range(2050))
    newest = sum(value == place for place, value in enumerate(out) if place >= 50)
    assert abs(newest - 1000) < 4 * (2000 * 0.25) ** 0.5
    older = [value for place, value in enumerate(out) if place >= 50 and value != place]
    assert len(set(older)) == len(older), "an image that was handed out is no longer in the pool"
    assert all(value < place for place, value in enumerate(out) if value != place)
    ages = [place - value for place, value in enumerate(out) if value != place]
    # It waits 100 steps on average: half of the steps take one of 50.
    assert 80 < sum(ages) / len(ages) < 120


def test_stored_images_do_not_keep_their_batches_in_memory(tmp_path: Path) -> None:
    pool = ImagePool(2)
    for _ in range(20):
        pool(torch.rand(8, 3, 4, 4))
    torch.save(pool.state_dict(), tmp_path / "pool.ckpt")
    again = ImagePool(2)
    again.load_state_dict(torch.load(tmp_path / "pool.ckpt", weights_only=True))
    for image in [*pool.images, *again.images]:
        assert image.untyped_storage().nbytes() == 3 * 4 * 4 * 4


@pytest.mark.parametrize("own", [True, False])
def test_its_generator_or_torchs_decides(own: bool) -> None:
    out = []
    for seed, torchs in ((7, 0), (7, 1 if own else 7), (8, 0)):
        torch.manual_seed(torchs if own else seed)
        out.append(handed_out(ImagePool(4, torch.Generator().manual_seed(seed) if own else None), range(60)))
    assert out[0] == out[1] != out[2]


@pytest.mark.parametrize("before", [0, 20])
def test_it_lies_in_the_checkpoint(before: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = ImagePool(4, generator)
    handed_out(pool, range(before))
    torch.save(pool.state_dict(), tmp_path / "pool.ckpt")
    again = ImagePool(4, generator.clone_state())
    again.load_state_dict(torch.load(tmp_path / "pool.ckpt", weights_only=True))
    later = range(before, before + 40)
    assert handed_out(again, later) == handed_out(pool, later)


def test_size_0_hands_everything_through() -> None:
    pool = ImagePool(0)
    given = images(1, 2).requires_grad_()
    assert torch.equal(pool(given), given)
    assert not pool(given).requires_grad
    assert pool.images == []
