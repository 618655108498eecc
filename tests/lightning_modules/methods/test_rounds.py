"""Which epoch of bidirectional learning does what."""

import pytest

from lightning_modules.methods.bdl import Rounds


def test_rounds_follow_each_other_and_the_last_phase_lasts() -> None:
    rounds = Rounds(count=2, translation=1, adaptation=2, self_training=2)
    once = [("translation", 0), ("adaptation", 0), ("adaptation", 1), ("self_training", 0), ("self_training", 1)]
    assert [rounds.place(epoch) for epoch in range(12)] == [*once, *once, ("self_training", 2), ("self_training", 3)]


def test_phases_may_be_left_out() -> None:
    assert [Rounds(1, 0, 1, 0).place(epoch)[0] for epoch in range(2)] == ["adaptation", "self_training"]
    assert [Rounds(2, 1, 0, 1).place(epoch)[0] for epoch in range(4)] == ["translation", "self_training"] * 2


def test_the_published_number_of_rounds_fills_300_epochs() -> None:
    rounds = Rounds()
    assert rounds.place(149) == ("self_training", 64)
    assert rounds.place(150) == ("translation", 0)
    assert rounds.place(299) == ("self_training", 64)


@pytest.mark.parametrize(
    "numbers", [{"count": 0}, {"renew": 0}, {"translation": -1}, {"adaptation": 0, "self_training": 0}]
)
def test_what_makes_no_sense_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Rounds\\("):
        Rounds(**numbers)
