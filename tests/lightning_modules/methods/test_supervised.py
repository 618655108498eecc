from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor

from lightning_modules.methods import Supervised
from tests.lightning_modules.methods.running import Watch, fit, setting
from tests.lightning_modules.methods.small import SIZE, LinearLandmarker


class TestSupervised:
    def test_it_learns_from_the_source_alone(self, tmp_path: Path) -> None:
        class NoTarget(Callback):
            def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, index: int) -> None:
                assert batch.target is None

        fit(Supervised(LinearLandmarker()), tmp_path, 1, NoTarget())

    @pytest.mark.parametrize("continues", [True, False])
    def test_what_goes_on_from_a_start_keeps_its_shapes(self, tmp_path: Path, continues: bool) -> None:
        """Its head is tuned to them: SPIGA lost 0.6 % NME when they were taken anew and its poses reset."""

        class Shaped(LinearLandmarker):
            fitted = 0

            def fit_shapes(self, shapes: Tensor) -> None:
                self.fitted += 1

        landmarker = Shaped()
        fit(Supervised(landmarker, continue_from_start=continues), tmp_path, 1)
        assert landmarker.fitted == (0 if continues else 1)

    def test_one_cycle_over_the_whole_run(self, tmp_path: Path) -> None:
        watch = Watch(lambda m: m.optimizers().param_groups[0]["lr"])
        fit(Supervised(LinearLandmarker(), learning_rate=1e-2, warmup=0.5), tmp_path, 4, watch)
        rates = watch.seen[:-1]  # of the second to the last of 8 steps
        assert rates[:3] == sorted(rates[:3])
        assert rates[2:] == sorted(rates[2:], reverse=True)
        assert rates[2] == pytest.approx(1e-2)
        assert rates[-1] < 1e-4 * rates[2]

    @pytest.mark.parametrize("epochs", [1, 5])
    def test_a_warm_up_of_a_step_or_less(self, tmp_path: Path, epochs: int) -> None:
        """The default warm-up of 2 and of 10 steps; the latter's tenth is exactly one step."""
        watch = Watch(lambda m: m.optimizers().param_groups[0]["lr"])
        fit(Supervised(LinearLandmarker(), learning_rate=1e-2), tmp_path, epochs, watch)
        assert watch.seen[0] == pytest.approx(1e-2)

    def test_validation_scores_every_test_face_in_image_pixels(self, tmp_path: Path) -> None:
        """Against a plain loop: the mean distance over the eye corners' distance, in the drawn images' own pixels."""
        method = Supervised(LinearLandmarker(), learning_rate=1e-3)
        fit(method, tmp_path, 1)
        data, errors = setting(), {}
        method.eval()
        for test, loader in zip(data.test_sets, data.val_dataloader(), strict=True):
            for batch in loader:
                for k, predicted in enumerate(method(batch.to("cpu").images).detach()):
                    face, matrix = test.faces[int(batch.indices[k])], batch.matrices[k]
                    inverse = torch.linalg.inv(torch.cat([matrix, torch.tensor([[0.0, 0, 1]])]).double())
                    homogeneous = torch.cat([predicted.double() * SIZE, torch.ones(68, 1)], dim=1)
                    truth = torch.from_numpy(face.landmarks).double()
                    distance = ((homogeneous @ inverse.T)[:, :2] - truth).norm(dim=-1).mean()
                    error = float(100 * distance / (truth[36] - truth[45]).norm())
                    errors.setdefault(test.subset_names[0], []).append(error)
        assert {name: values["n"] for name, values in method.scores.items()} == {"photos": 2, "art": 3}
        for name, values in errors.items():
            assert method.scores[name]["nme"] == pytest.approx(sum(values) / len(values), abs=1e-3)
        everything = [value for values in errors.values() for value in values]
        assert method.average_nme == pytest.approx(sum(everything) / 5, abs=1e-3)
        balanced = sum(sum(values) / len(values) for values in errors.values()) / 2
        assert float(method.trainer.callback_metrics["val/balanced_nme"]) == pytest.approx(balanced, abs=1e-3)
