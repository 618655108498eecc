"""The image pool: fills first, then exchanges half of the time; repeatable, and kept in checkpoints."""

from pathlib import Path

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


def test_it_draws_from_its_generator_alone() -> None:
    out = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        out.append(handed_out(ImagePool(4, torch.Generator().manual_seed(7)), range(60)))
    assert out[0] == out[1]
    assert out[0] != handed_out(ImagePool(4, torch.Generator().manual_seed(8)), range(60))


def test_without_one_it_draws_from_torchs() -> None:
    torch.manual_seed(3)
    first = handed_out(ImagePool(4), range(30))
    torch.manual_seed(3)
    assert handed_out(ImagePool(4), range(30)) == first


def test_it_lies_in_the_checkpoint(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = ImagePool(4, generator)
    handed_out(pool, range(20))
    torch.save(pool.state_dict(), tmp_path / "pool.ckpt")
    again = ImagePool(4, generator.clone_state())
    again.load_state_dict(torch.load(tmp_path / "pool.ckpt", weights_only=True))
    assert handed_out(again, range(20, 60)) == handed_out(pool, range(20, 60))


def test_an_empty_one_lies_there_too() -> None:
    pool = ImagePool(2)
    pool.load_state_dict(ImagePool(2).state_dict())
    assert handed_out(pool, range(2)) == [0, 1]


def test_size_0_hands_everything_through() -> None:
    pool = ImagePool(0)
    given = images(1, 2).requires_grad_()
    assert torch.equal(pool(given), given)
    assert not pool(given).requires_grad
    assert pool.images == []
