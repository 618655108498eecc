"""Numbers out of their ranges: refused by the option's name, before anything is read or written."""

from pathlib import Path

import pytest

from datamodules.ranges import RangeError, above, at_least, ordered, shares
from experiments.errors import UsageError
from experiments.values.numbers import in_full, require_numbers
from tests.experiments.helpers import TINY, refused, write_config

LANDMARKER = "model.init_args.landmarker.init_args"
REFUSED = {
    "--data.steps_per_epoch=0": "--data.steps_per_epoch: found 0, expected 1 or more.",
    "--data.augmentation.scale=[1.5,0.5]": "--data.augmentation.scale: found 1.5 to 0.5, expected a lower end above 0",
    "--pretraining.max_epochs=0": "--pretraining.max_epochs: found 0, expected 1 or more.",
    "--trainer.max_epochs=0": "trainer.max_epochs: found 0, expected 1 or more.",
    "--seed=-1": "--seed_everything: found -1, expected 0 or more.",
    f"--{LANDMARKER}.embed_dim=0": f"--{LANDMARKER}.embed_dim: found 0, expected 1 or more.",
}


@pytest.mark.parametrize("option", REFUSED)
def test_a_number_out_of_its_range_is_refused_by_name(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "tiny.yaml", TINY)
    message = refused(capsys, "train", "--setting=da_cariface", config, f"--paths.runs={tmp_path}/runs", option)
    assert f"error: {REFUSED[option]}" in message
    assert not (tmp_path / "runs").exists()


def test_the_ranges() -> None:
    nan, inf = float("nan"), float("inf")
    at_least(0, a=0, b=None, c=2.5)
    above(0, a=1e-9)
    shares(a=0, b=1.0, c=None)
    ordered(a=(0.0, 1.0), b=(-1, -1))
    for wrong in (nan, inf, -inf, -1):
        for check in (lambda v: at_least(0, x=v), lambda v: above(-1, x=v), lambda v: shares(x=v)):
            with pytest.raises(RangeError, match=r"^x: found .*, expected "):
                check(wrong)
    for pair in ((1.0, 0.5), (0.0, 1.0), (nan, 1.0), (0.5, inf)):
        with pytest.raises(RangeError, match=r"^x: found .* to "):
            ordered(0, x=pair)


def test_only_this_projects_arguments_are_looked_at() -> None:
    """A user's own class may take any number; a distribution's mean may be negative."""
    theirs = {"class_path": "busts.Busts", "init_args": {"offset": -3}}
    require_numbers({"model": {"init_args": {"landmarker": theirs}}, "data": {"rotation": {"mean": -5.0}}})
    for group, option, value in (
        ("trainer", "accumulate_grad_batches", 0),
        ("translation", "batch_size", -1),
        ("model", "learning_rate", float("nan")),
    ):
        with pytest.raises(UsageError, match=rf"^--{group}\.{option}: found {value}, expected "):
            require_numbers({group: {option: value}})
    ours = {"class_path": "lightning_modules.landmarkers.SLPT", "init_args": {"dropout": -0.5}}
    with pytest.raises(UsageError, match=r"^--model\.landmarker\.init_args\.dropout: found -0\.5, expected 0 or more"):
        require_numbers({"model": {"landmarker": ours}})


def test_a_name_is_given_in_full_where_it_is_the_only_one() -> None:
    config = {"data": {"limit": 0, "keep": 0, "a": {"count": 1}, "b": {"count": 1}}}
    assert in_full("limit: found 0, expected 1 or more.", config) == "--data.limit: found 0, expected 1 or more."
    assert in_full("keep: found 0.0, expected more.", config) == "--data.keep: found 0.0, expected more."
    assert in_full("count: found 1, expected 2 or more.", config) == "count: found 1, expected 2 or more."
    assert in_full("something else", config) == "something else"
