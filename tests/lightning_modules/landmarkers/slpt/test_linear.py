import torch
import torch.nn.functional as F

from lightning_modules.landmarkers.slpt.linear import landmark_linear


def test_values_and_gradients_are_those_of_a_linear_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(shape, generator=generator, requires_grad=True) for shape in ((24, 12), (24,)))
    for batch in (1, 3, 16):
        values = torch.randn(batch, 68, 12, generator=generator, requires_grad=True)
        towards = torch.randn(batch, 68, 24, generator=generator)
        ours, theirs = landmark_linear(values, weight, bias), F.linear(values, weight, bias)
        torch.testing.assert_close(ours, theirs)
        of = (values, weight, bias)
        found, expected = (torch.autograd.grad(result, of, towards) for result in (ours, theirs))
        # Sums over a thousand rows, in another order.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_values_that_do_not_lie_in_rows_and_no_bias() -> None:
    values = torch.randn(2, 12, 68, generator=torch.Generator().manual_seed(0)).transpose(1, 2)
    weight = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(landmark_linear(values, weight), values @ weight.T)
