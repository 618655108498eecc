"""The moving average of the weights."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from callbacks.weight_average import WeightAverage, average


def test_it_is_the_sum_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False).double()
    averaged = AveragedModel(model)
    for count, value in enumerate(values):
        model.weight.data = value[None]
        average(averaged, model, count, 0.7)
    expected = values[0]
    for n, value in enumerate(values[1:], 1):
        kept = min(0.7, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * value
    torch.testing.assert_close(averaged.module.weight[0].data, expected)
    assert int(averaged.n_averaged) == 40


def test_the_first_weights_are_forgotten_soon() -> None:
    """After 300 steps at a decay of 0.998 a constant decay would still have 55 % of them."""
    model = nn.Linear(1, 1, bias=False)
    averaged = AveragedModel(model)
    for step in range(300):
        model.weight.data.fill_(float(step == 0))
        average(averaged, model, step, 0.998)
    assert 0 <= averaged.module.weight.item() < 1e-6


def test_statistics_are_averaged_and_their_count_is_kept() -> None:
    model = nn.BatchNorm1d(2)
    averaged = AveragedModel(model, use_buffers=True)
    for step in range(5):
        model(torch.randn(8, 2))
        average(averaged, model, step, 0.5)
    assert int(averaged.module.num_batches_tracked) == 5
    assert not torch.equal(averaged.module.running_mean, model.running_mean)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"decay is {decay}; expected a share"):
        WeightAverage(decay)
