import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_modules.weights import (
    PUBLISHED_SLPT,
    Published,
    WeightsError,
    load_state,
    read_state,
    start_from,
)


@pytest.fixture
def module() -> nn.Module:
    return nn.Linear(2, 3)


def test_a_state_dict_and_a_checkpoint_are_read_alike(module: nn.Module, tmp_path: Path) -> None:
    plain, checkpoint, parallel = tmp_path / "plain.pt", tmp_path / "run.ckpt", tmp_path / "parallel.pt"
    state = module.state_dict()
    torch.save(state, plain)
    torch.save(
        {"epoch": 3, "state_dict": {f"landmarker.{k}": v for k, v in state.items()} | {"other": state["bias"]}},
        checkpoint,
    )
    torch.save({f"module.{k}": v for k, v in state.items()}, parallel)
    for path in (plain, checkpoint, parallel):
        found = read_state(path)
        assert list(found) == ["weight", "bias"]
        torch.testing.assert_close(found["weight"], state["weight"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights file .*absent\.pt.*looked from"):
        read_state(tmp_path / "absent.pt")


def test_a_truncated_file_is_named_with_its_size(module: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    torch.save(module.state_dict(), path)
    content = path.read_bytes()
    for length in (0, 3, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"cut\.pt.*(truncated|damaged)"):
            read_state(path)


class RunsCode:
    def __reduce__(self) -> Any:
        return os.system, ("touch was_run",)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": RunsCode()}, "evil.pt")
    with pytest.raises(WeightsError, match=r"evil\.pt.*could run code"):
        read_state("evil.pt")
    assert not Path("was_run").exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "a list"),
        ({"lr": 0.1}, r"the keys \['lr'\]"),
        ({"state_dict": {"net.w": torch.zeros(1)}, "pytorch-lightning_version": "2.6.6"}, "'net.w'"),
    ],
)
def test_files_without_a_landmarker_say_what_they_hold(content: object, found: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=rf"odd\.pt .*{found}"):
        read_state(tmp_path / "odd.pt")


def test_every_mismatch_is_listed(module: nn.Module) -> None:
    with pytest.raises(WeightsError) as caught:
        load_state(module, {"weight": torch.zeros(5, 2), "scale": torch.zeros(1)}, "file.pt")
    message = str(caught.value)
    assert "file.pt does not hold the weights of this Linear: 3" in message
    assert "bias: missing" in message
    assert "scale: unknown to the network" in message
    assert "weight: shape (5, 2) in the file, (3, 2) in the network" in message


def test_optional_tensors_keep_the_networks_value(module: nn.Module) -> None:
    bias = module.state_dict()["bias"].clone()
    load_state(module, {"weight": torch.ones(3, 2)}, "file.pt", optional=frozenset({"bias"}))
    torch.testing.assert_close(module.state_dict()["bias"], bias)
    torch.testing.assert_close(module.state_dict()["weight"], torch.ones(3, 2))


def test_only_published_names_are_translated() -> None:
    with pytest.raises(WeightsError, match="not the published SLPT's weights"):
        PUBLISHED_SLPT.translate({"conv.weight": torch.zeros(1)})


RENAMED = Published("toy", "fc.weight", ((r"^fc\.", ""),), unused=lambda name, value: name == "spare")


def test_published_files_are_read_as_authors_wrap_them(module: nn.Module, tmp_path: Path) -> None:
    """Under a key, from DataParallel, beside an optimizer's state, a schedule and NumPy scores."""
    theirs = {f"module.fc.{name}": value + 1 for name, value in module.state_dict().items()}
    theirs["module.spare"] = torch.zeros(7)
    optimizer = torch.optim.Adam(module.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    rest = {
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "best": np.float64(3.3),
        "epoch": 9,
    }
    for key in ("net", "state_dict", "model"):
        torch.save({key: theirs, **rest}, tmp_path / f"{key}.pkl")
        ours = nn.Linear(2, 3)
        start_from(ours, tmp_path / f"{key}.pkl", RENAMED)
        torch.testing.assert_close(ours.weight, module.weight + 1)
        torch.testing.assert_close(ours.bias, module.bias + 1)


def test_a_published_file_that_does_not_fit_is_named_with_what_differs(module: nn.Module, tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(5, 2), "fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(
        WeightsError, match=r"other\.pth \(the published toy\) does not hold.*\n  weight: shape \(5, 2\)"
    ):
        start_from(module, tmp_path / "other.pth", RENAMED)


def test_a_whole_pickled_network_is_refused(module: nn.Module, tmp_path: Path) -> None:
    """What HRNet's training program writes beside its final state."""
    torch.save({"state_dict": module, "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(WeightsError, match=r"checkpoint\.pth is not a plain weights file.*could run code"):
        read_state(tmp_path / "checkpoint.pth")
