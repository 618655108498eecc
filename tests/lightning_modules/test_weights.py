import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_modules.weights import Published, WeightsError, load_matching, load_state, read_state, start_from

RENAMED = Published("toy", "fc.weight", ((r"^fc\.", ""),), unused=lambda name, value: name == "spare")


@pytest.fixture
def module() -> nn.Module:
    return nn.Linear(2, 3)


@pytest.mark.parametrize("kind", ["plain.pt", "run.ckpt", "parallel.pt", "plain.safetensors"])
def test_a_state_dict_and_a_checkpoint_are_read_alike(kind: str, module: nn.Module, tmp_path: Path) -> None:
    state = module.state_dict()
    contents: dict[str, Any] = {
        "plain.pt": state,
        "plain.safetensors": state,
        "run.ckpt": {
            "epoch": 3,
            "state_dict": {f"landmarker.{k}": v for k, v in state.items()} | {"other": state["bias"]},
        },
        "parallel.pt": {f"module.{k}": v for k, v in state.items()},
    }
    (save_file if kind.endswith(".safetensors") else torch.save)(contents[kind], tmp_path / kind)
    found = read_state(tmp_path / kind)
    assert sorted(found) == ["bias", "weight"]
    torch.testing.assert_close(found["weight"], state["weight"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.pt") as caught:
        read_state(tmp_path / "absent.pt")
    assert isinstance(caught.value, WeightsError)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_truncated_file_is_named(suffix: str, module: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{suffix}"
    (torch.save if suffix == "pt" else save_file)(module.state_dict(), path)
    content = path.read_bytes()
    for length in (0, 3, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"cut\..*(truncated|damaged)"):
            read_state(path)


class RunsCode:
    def __reduce__(self) -> Any:
        return os.system, ("touch was_run",)


def test_pickled_code_and_networks_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the latter kind is what HRNet's training program writes beside its final state."""
    monkeypatch.chdir(tmp_path)
    for content in (RunsCode(), nn.Linear(2, 3)):
        torch.save({"state_dict": content, "epoch": 3}, "evil.pt")
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
    state = {"weight": torch.zeros(5, 2), "scale": torch.zeros(1)}
    assert load_matching(module, state) == (
        ["bias: missing", "weight: shape (5, 2) in the file, (3, 2) in the network"],
        ["scale: unknown to the network"],
    )
    with pytest.raises(WeightsError, match=r"file\.pt .*this Linear: 3(.*\n)+  bias(.*\n)+  weight(.*\n)+  scale"):
        load_state(module, state, "file.pt")


def test_a_part_and_optional_tensors_keep_the_rest(module: nn.Module) -> None:
    bias = module.state_dict()["bias"].clone()
    state = {"weight": torch.ones(3, 2), "classifier": torch.zeros(9)}
    load_state(module, state, "file.pt", optional=frozenset({"bias"}), partial=True)
    torch.testing.assert_close(module.state_dict()["bias"], bias)
    torch.testing.assert_close(module.state_dict()["weight"], torch.ones(3, 2))


def test_only_published_names_are_translated() -> None:
    with pytest.raises(WeightsError, match="not the published toy's weights"):
        RENAMED.translate({"conv.weight": torch.zeros(1)})


@pytest.mark.parametrize("key", ["net", "state_dict", "model"])
def test_published_files_are_read_as_authors_wrap_them(key: str, module: nn.Module, tmp_path: Path) -> None:
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
    torch.save({key: theirs, **rest}, tmp_path / "theirs.pkl")
    ours = nn.Linear(2, 3)
    start_from(ours, tmp_path / "theirs.pkl", RENAMED)
    torch.testing.assert_close(ours.weight, module.weight + 1)
    torch.testing.assert_close(ours.bias, module.bias + 1)


def test_a_published_file_that_does_not_fit_is_named_with_what_differs(module: nn.Module, tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(5, 2), "fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth \(the published toy\) .*\n  weight: shape \(5, 2\)"):
        start_from(module, tmp_path / "other.pth", RENAMED)
