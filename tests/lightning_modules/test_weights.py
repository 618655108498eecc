import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_modules import weights
from lightning_modules.weights import (
    Provenance,
    Published,
    WeightsError,
    load_matching,
    load_state,
    pack,
    read_state,
    read_tensors,
    start_from,
)

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


def test_a_flipped_bit_is_found_by_the_files_checksums(tmp_path: Path) -> None:
    path = tmp_path / "flipped.pt"
    torch.save({"a": torch.randn(5000), "none": torch.empty(0)}, path)
    read_state(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"flipped\.pt .*CRC.*copy or download it again"):
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


SPEC = {"class_path": "toy.Toy", "init_args": {"image_size": 8, "names": ["é", None]}}
ORIGIN = Provenance("make toy", "2 photos, 1 drawing", "source ab12 (2 faces)", "warpmark 0", "for research use only")


class TestPacked:
    def test_tensors_come_back_in_float32_rounded_once_and_whole_numbers_as_they_were(self, tmp_path: Path) -> None:
        state = {
            "weight": torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last),
            "mean": torch.tensor(0.1, dtype=torch.float64),
            "steps": torch.tensor(2**40),
            "mask": torch.tensor([True, False]),
        }
        (tmp_path / "toy.safetensors").write_bytes(pack("toy", SPEC, state, ORIGIN))
        read = read_tensors(tmp_path / "toy.safetensors")
        assert (read["landmarker"], read["provenance"]) == (SPEC, ORIGIN)
        found = {name.removeprefix("landmarker."): value for name, value in read["state_dict"].items()}
        assert {name: value.dtype for name, value in found.items()} == {
            "weight": torch.float32,
            "mean": torch.float32,
            "steps": torch.int64,
            "mask": torch.bool,
        }
        assert torch.equal(found["weight"], state["weight"].half().float())
        assert (found["weight"] - state["weight"]).abs().max() <= state["weight"].abs().max() * 2**-11
        assert torch.equal(found["steps"], state["steps"])
        assert torch.equal(found["mask"], state["mask"])
        # As the state dict of a network that takes `weights=`.
        assert sorted(read_state(tmp_path / "toy.safetensors")) == sorted(state)
        # Packed again, the same bytes: nothing is lost twice.
        assert pack("toy", SPEC, found, ORIGIN) == (tmp_path / "toy.safetensors").read_bytes()

    def test_tensors_that_share_memory_are_packed(self, tmp_path: Path) -> None:
        shared = torch.zeros(3)
        (tmp_path / "toy.safetensors").write_bytes(pack("toy", SPEC, {"a": shared, "b": shared}, ORIGIN))
        assert sorted(read_state(tmp_path / "toy.safetensors")) == ["a", "b"]

    @pytest.mark.parametrize("value", [1e5, float("nan")])
    def test_what_float16_cannot_hold_is_refused(self, value: float) -> None:
        with pytest.raises(WeightsError, match=r"norm\.var: found values up to .*float16's ±65504"):
            pack("toy", SPEC, {"norm.var": torch.tensor([1.0, value])}, ORIGIN)

    @pytest.mark.parametrize(
        ("metadata", "found"),
        [
            ("{", "JSONDecodeError"),
            ("[]", "TypeError"),
            (json.dumps({"provenance": asdict(ORIGIN)}), "'landmarker'"),
            (json.dumps({"landmarker": SPEC}), "'provenance'"),
            (json.dumps({"landmarker": {"class_path": "toy.Toy"}, "provenance": asdict(ORIGIN)}), "'init_args'"),
            (json.dumps({"landmarker": SPEC, "provenance": {"command": "make"}}), "missing 4"),
            (json.dumps({"landmarker": SPEC, "provenance": {**asdict(ORIGIN), "mood": 1}}), "mood"),
        ],
    )
    def test_metadata_that_do_not_describe_a_landmarker(self, metadata: str, found: str, tmp_path: Path) -> None:
        save_file({"weight": torch.zeros(2)}, tmp_path / "odd.safetensors", {"warpmark": metadata})
        with pytest.raises(WeightsError, match=rf"odd\.safetensors: found metadata .*{found}.*warpmark pack"):
            read_tensors(tmp_path / "odd.safetensors")

    def test_shipped_weights_are_read_by_name_unless_there_is_such_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "shipped").mkdir()
        with pytest.raises(WeightsError, match="this package has none"):
            read_state("toy-light")
        for name, value in (("toy-light", 1.0), ("grand", 2.0)):
            content = pack(name, SPEC, {"a": torch.tensor(value)}, ORIGIN)
            (tmp_path / "shipped" / f"{name}.safetensors").write_bytes(content)
        assert sorted(weights.shipped()) == ["grand", "toy-light"]
        assert float(read_state("toy-light")["a"]) == 1.0
        with pytest.raises(
            FileNotFoundError, match=r"weights file toy_lite .*Did you mean 'toy-light'\?.*: grand, toy-l"
        ):
            read_state("toy_lite")
        torch.save({"a": torch.tensor(3.0)}, "toy-light")
        assert float(read_state("toy-light")["a"]) == 3.0
