"""What is set for a while is restored."""

import pytest

from lightning_modules.landmarkers.base import evaluating, frozen
from tests.lightning_modules.methods.small import TwoStages


@pytest.mark.parametrize("fails", [False, True])
def test_modes_come_back_module_by_module_also_after_an_error(fails: bool) -> None:
    landmarker = TwoStages().train()
    landmarker.norm.eval()
    landmarker.first.requires_grad_(False)

    def modes() -> list[bool]:
        return [*(m.training for m in landmarker.modules()), *(p.requires_grad for p in landmarker.parameters())]

    before = modes()
    try:
        with evaluating(landmarker), frozen(landmarker):
            assert not any(modes())
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert modes() == before
