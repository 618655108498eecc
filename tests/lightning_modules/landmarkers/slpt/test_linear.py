import pytest
import torch
import torch.nn.functional as F

from lightning_modules.landmarkers.slpt.linear import landmark_linear


@pytest.fixture(autouse=True, params=[True, False], ids=["as a convolution", "as a product"])
def each_processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor of AMD's with AVX-512, and as on others; whichever this one is."""
    monkeypatch.setattr("lightning_modules.landmarkers.slpt.linear.amd_with_avx512", lambda: request.param)


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


def test_a_convolution_where_it_is_quicker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    convolve, multiply = F.conv2d, F.linear
    monkeypatch.setattr(F, "conv2d", lambda *given: called.append("convolution") or convolve(*given))
    monkeypatch.setattr(F, "linear", lambda *given: called.append("product") or multiply(*given))
    landmark_linear(torch.zeros(2, 68, 4), torch.zeros(3, 4))
    assert called == [request.node.callspec.id.removeprefix("as a ")]
