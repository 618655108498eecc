"""Coordinates are computed in full precision whatever a profile allows."""

from collections.abc import Iterator

import pytest
import torch

from lightning_modules.landmarkers.base import full_precision


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("allowed", ["highest", "high"])
def test_neither_autocast_nor_tf32(allowed: str) -> None:
    torch.set_float32_matmul_precision(allowed)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(torch.zeros(1)):
            assert torch.get_float32_matmul_precision() == "highest"
            assert (torch.rand(2, 2) @ torch.rand(2, 2)).dtype == torch.float32
        assert (torch.rand(2, 2) @ torch.rand(2, 2)).dtype == torch.bfloat16
    assert torch.get_float32_matmul_precision() == allowed
