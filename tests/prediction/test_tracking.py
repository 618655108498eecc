import numpy as np
import pytest

from prediction.detection.base import overlap
from prediction.faces import PredictedFace
from prediction.tracking import Tracker, Tracking, is_face, matched
from tests.prediction.worlds import HEIGHT, WIDTH, World, face_at

RATE = 30.0
PLAIN = Tracking(smoothing=None)


def tracks(world: World, frames: int, how: Tracking = PLAIN) -> list[list[int]]:
    """The tracks of each frame, in the order in which they are told."""
    tracker = Tracker(world, how)
    return [[face.track for face in tracker(world.frame(i), i / RATE)] for i in range(frames)]


def test_a_moving_face_keeps_its_track_with_few_detections() -> None:
    world = World(lambda i: [face_at(60 + 4 * i, 100 + i)])
    tracker = Tracker(world, PLAIN)
    for i in range(40):
        (face,) = tracker(world.frame(i), i / RATE)
        assert face.track == 1
        assert face.score == 0.9  # of the last detection: following gives none
        np.testing.assert_array_equal(face.landmarks, world.faces(i)[0].landmarks)
    assert world.detected == [0, 15, 30]


def test_the_next_frames_square_is_about_the_last_ones_landmarks() -> None:
    world = World(lambda i: [face_at(100 + 5 * i, 120)])
    tracks(world, 3)
    detected, second, third = (squares[0] for squares in world.asked)
    assert second.x == pytest.approx(100)
    assert third.x == pytest.approx(105)
    assert detected.side == pytest.approx(1.2 * 60)


def test_a_face_that_leaves_and_soon_comes_back_is_itself_later_it_is_another() -> None:
    def faces(i: int, away: int) -> list[PredictedFace]:
        return [] if 10 <= i < 10 + away else [face_at(295, 120)]

    soon, late = tracks(World(lambda i: faces(i, 20)), 40), tracks(World(lambda i: faces(i, 45)), 65)
    assert soon[9] == late[9] == [1]
    assert soon[10:30] == [[]] * 20
    assert soon[39] == [1]
    assert late[64] == [2]


def test_a_face_that_moves_out_of_the_picture_is_lost_and_its_return_is_seen() -> None:
    # Landmarks beyond the edge, however certain, are no face.
    world = World(lambda i: [face_at(WIDTH - 60 + 6 * min(i, 40 - i), 120)])
    told = tracks(world, 41)
    assert told[0] == told[8] == [1]
    assert told[20] == []
    assert told[40] == [1]


def test_after_a_cut_the_same_place_is_another_face() -> None:
    def scene(i: int) -> tuple[int, int, int]:
        return (200, 190, 60) if i >= 8 else (30, 40, 90)

    told = tracks(World(lambda i: [face_at(160, 120)], scene), 12)
    assert told == [[1]] * 8 + [[2]] * 4


def test_a_change_of_light_is_no_cut() -> None:
    told = tracks(World(lambda i: [face_at(160, 120)], lambda i: (90 + 4 * i,) * 3), 20)
    assert told == [[1]] * 20


def test_faces_that_cross_keep_their_tracks() -> None:
    # The second one passes behind the first one and is hidden meanwhile.
    def faces(i: int) -> list[PredictedFace]:
        front, behind = face_at(60 + 5 * i, 120), face_at(260 - 5 * i, 126)
        return [front] if overlap(front.box, behind.box) > 0.3 else [front, behind]

    world = World(faces)
    tracker = Tracker(world, PLAIN)
    told = [{face.track: face.box[0] for face in tracker(world.frame(i), i / RATE)} for i in range(41)]
    assert set(told[0]) == set(told[40]) == {1, 2}
    assert set(told[20]) == {1}
    assert told[0][1] < told[0][2]
    assert told[40][1] > told[40][2]
    assert [frame[1] for frame in told] == sorted(frame[1] for frame in told)


def test_a_face_that_another_draws_along_while_it_is_hidden_keeps_its_track() -> None:
    # As real landmarkers do: half hidden, the second face's landmarks stick to the first one's.
    def faces(i: int) -> list[PredictedFace]:
        front, behind = face_at(60 + 5 * i, 120), face_at(260 - 7 * i, 126)
        shared = overlap(front.box, behind.box)
        if shared > 0.3:
            return [front]
        return [front, face_at(220 - 5 * i, 126)] if shared > 0.1 else [front, behind]

    told = tracks(World(faces), 36)
    assert told[0] == told[35] == [1, 2]
    assert [1] in told


def test_what_is_far_from_where_a_face_was_lost_is_another() -> None:
    told = tracks(World(lambda i: [face_at(80, 120)] if i < 5 else [face_at(240, 120)] if i > 8 else []), 12)
    assert (told[4], told[11]) == ([1], [2])
    told = tracks(World(lambda i: [face_at(80, 120)] if i < 5 else [face_at(80, 120, 110)] if i > 8 else []), 12)
    assert (told[4], told[11]) == ([1], [2])


def test_two_tracks_on_one_face_become_one() -> None:
    # Two faces until the second is no more: the landmarker then finds the first in both squares.
    world = World(lambda i: [face_at(140, 120)] + ([face_at(172, 120)] if i < 5 else []))
    told = tracks(world, 10, Tracking(smoothing=None, overlap=0.4))
    assert told[4] == [1, 2]
    assert told[5:] == [[1]] * 5


def test_a_new_face_is_found_at_the_next_detection() -> None:
    told = tracks(World(lambda i: [face_at(80, 120)] + ([face_at(240, 120)] if i >= 4 else [])), 12, Tracking(every=5))
    assert told == [[1]] * 5 + [[1, 2]] * 7


def test_without_a_face_the_detector_looks_every_few_frames() -> None:
    world = World(lambda i: [])
    assert tracks(world, 8) == [[]] * 8
    assert world.detected == [0, 3, 6]


def test_what_the_detector_does_not_confirm_needs_less_doubt_to_be_lost() -> None:
    class Once(World):
        def find(self, image: np.ndarray) -> list:
            found = super().find(image)
            return found if len(self.detected) == 1 else []

    doubtful = tracks(Once(lambda i: [face_at(160, 120, doubt=10)]), 12, Tracking(every=2))
    certain = tracks(Once(lambda i: [face_at(160, 120, doubt=5)]), 12, Tracking(every=2))
    assert doubtful[0] == [1]
    assert doubtful[11] == []
    assert certain[11] == [1]


def test_a_face_whose_doubt_leaps_up_is_lost_though_others_have_as_much() -> None:
    leaping = World(lambda i: [face_at(160, 120, doubt=3 if i < 5 else 9)] if i < 6 else [])
    alike = World(lambda i: [face_at(160, 120, doubt=9)])
    assert tracks(leaping, 5)[-1] == tracks(alike, 6)[-1] == [1]
    tracker = Tracker(leaping, PLAIN)
    for i in range(5):
        tracker(leaping.frame(i), i / RATE)
    leaping.find = lambda image: []  # type: ignore[method-assign]
    assert tracker(leaping.frame(5), 5 / RATE) == []


def test_smoothing_follows_each_face_apart() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (40, 2))
    world = World(lambda i: [face_at(80 + noise[i, 0], 120), face_at(240 + noise[i, 1], 120)])
    tracker = Tracker(world, Tracking())
    boxes = np.array([[face.box[0] for face in tracker(world.frame(i), i / RATE)] for i in range(40)])
    raw = np.array([[face.box[0] for face in world.faces(i)] for i in range(40)])
    assert (np.abs(np.diff(boxes, axis=0)).mean(0) < 0.4 * np.abs(np.diff(raw, axis=0)).mean(0)).all()
    np.testing.assert_allclose(boxes[10:].mean(0), raw[10:].mean(0), atol=0.5)


def test_what_is_no_face() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    good = face_at(160, 120)
    unknown = PredictedFace(good.landmarks, np.full(68, np.nan), good.detected, 0.9)
    rng = np.random.default_rng(0)
    scattered = PredictedFace(rng.uniform(100, 200, (68, 2)), good.uncertainty, good.detected, 0.9)
    assert is_face(good, image)
    assert is_face(unknown, image)  # some landmarkers tell no uncertainty
    assert not is_face(scattered, image)
    assert not is_face(face_at(160, 120, doubt=30), image)
    assert not is_face(face_at(-20, 120), image)
    assert not is_face(PredictedFace(good.landmarks * np.nan, good.uncertainty, good.detected, 0.9), image)


def test_boxes_are_matched_the_most_overlapping_first() -> None:
    boxes = [np.array([0.0, 0, 10, 10]), np.array([4.0, 0, 14, 10])]
    others = [np.array([3.0, 0, 13, 10]), np.array([100.0, 0, 110, 10])]
    assert matched(boxes, others, 0.3) == {1: 0}
    assert overlap(boxes[0], boxes[1]) == pytest.approx(60 / 140)
    assert overlap(others[0], others[1]) == 0


@pytest.mark.parametrize("option", [{"every": 0}, {"seek": 0}, {"overlap": 0.0}, {"merged": 1.0}])
def test_refuses_numbers_out_of_range(option: dict) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(option))}: found"):
        Tracking(**option)
