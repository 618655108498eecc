"""Errors of the parts of the face, against their definitions written out face by face."""

from pathlib import Path

import numpy as np
import pytest

from experiments.analysis.parts import (
    PART_NAMES,
    TABLE_HEAD,
    jaw_components,
    part_errors,
    part_scores,
    table_rows,
    write_faces,
    write_parts,
)
from experiments.intervals import bootstrap_interval
from tests.experiments.analysis.faces import made_up
from tests.experiments.helpers import rows

POINTS = {
    "jaw": [*range(17)],
    "brows": [*range(17, 27)],
    "nose": [*range(27, 36)],
    "eyes": [*range(36, 48)],
    "mouth": [*range(48, 68)],
}
"""Zero-based, from the figure of the 300W challenge."""


def test_each_region() -> None:
    measured = made_up()
    found = part_errors(measured)
    assert tuple(found) == PART_NAMES == ("all", *POINTS, "jaw, along", "jaw, across")
    for i in range(5):
        far = np.linalg.norm(measured.found[i] - measured.labels[i], axis=1)
        far = 100 * far / np.linalg.norm(measured.labels[i, 36] - measured.labels[i, 45])
        assert found["all"][i] == pytest.approx(far.mean())
        for name, points in POINTS.items():
            assert found[name][i] == pytest.approx(np.mean([far[point] for point in points]))


def test_jaw_along_and_across() -> None:
    """On a labelled half circle about the origin, along is the turn's tangent and across the radius."""
    angles = np.linspace(np.pi, 0, 17)
    labels = np.zeros((1, 68, 2))
    labels[0, :17] = 50 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels[0, 36], labels[0, 45] = (-20, 0), (20, 0)
    out, on = labels.copy(), labels.copy()
    out[0, :17] *= 1.1
    tangents = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    on[0, :17] += 3 * tangents
    along, across = jaw_components(out, labels)
    inner = slice(1, 16)  # at an end the contour's direction is that of half a step
    np.testing.assert_allclose(along[0, inner], 0, atol=1e-9)
    np.testing.assert_allclose(across[0, inner], 100 * 5 / 40)
    along, across = jaw_components(on, labels)
    np.testing.assert_allclose(along[0, inner], 100 * 3 / 40)
    np.testing.assert_allclose(across[0, inner], 0, atol=1e-5)
    half = np.pi / 32
    np.testing.assert_allclose(along[0, [0, 16]], 100 * 3 / 40 * np.cos(half))
    np.testing.assert_allclose(across[0, [0, 16]], 100 * 3 / 40 * np.sin(half))


def test_jaw_components_add_up_in_any_frame() -> None:
    measured = made_up()
    along, across = jaw_components(measured.found, measured.labels)
    np.testing.assert_allclose(np.hypot(along, across), measured.errors[:, :17])
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) * 7
    turned = jaw_components(measured.found @ turn.T + 3, measured.labels @ turn.T + 3)
    np.testing.assert_allclose(turned[0], along)
    np.testing.assert_allclose(turned[1], across, atol=1e-6)


def test_labels_that_coincide() -> None:
    measured = made_up(count=1)
    measured.labels[0, 3:6] = measured.labels[0, 4]
    along, across = jaw_components(measured.found, measured.labels)
    assert along[0, 4] == 0
    assert across[0, 4] > 0


def test_scores_of_each_subset() -> None:
    both = [made_up("ours"), made_up("theirs", worse=2)]
    scores = part_scores(both)
    assert [(one.subset, one.landmarker, one.count) for one in scores] == [
        ("every", "ours", 5),
        ("every", "theirs", 5),
        ("even", "ours", 3),
        ("even", "theirs", 3),
    ]
    even = scores[3]
    jaw = both[1].errors[::2, :17].mean(1)
    assert even.means["jaw"] == pytest.approx(jaw.mean())
    assert even.intervals["jaw"] == pytest.approx(bootstrap_interval(jaw))
    assert even.intervals["jaw"][0] < jaw.mean() < even.intervals["jaw"][1]
    assert even.fr8 == pytest.approx(100 * np.mean(both[1].errors[::2].mean(1) > 8))
    line = dict(zip(TABLE_HEAD, table_rows(scores)[3], strict=True))
    low, high = bootstrap_interval(jaw)
    assert (line["subset"], line["landmarker"], line["faces"]) == ("even", "theirs", "3")
    assert line["jaw"] == f"{jaw.mean():.2f} ({low:.2f}–{high:.2f})"


def test_files(tmp_path: Path) -> None:
    both = [made_up("ours"), made_up("theirs", worse=2)]
    write_faces(both, tmp_path / "faces.csv")
    write_parts(part_scores(both), tmp_path / "parts.csv")
    faces = rows(tmp_path / "faces.csv")
    assert [row["path"] for row in faces] == [f"album/face{i}.png" for i in range(5)] * 2
    assert (faces[7]["landmarker"], faces[7]["subsets"]) == ("theirs", "every even")
    assert float(faces[7]["nme"]) == pytest.approx(both[1].errors[2].mean(), abs=1e-6)
    assert float(faces[7]["mouth"]) == pytest.approx(both[1].errors[2, 48:].mean(), abs=1e-6)
    parts = rows(tmp_path / "parts.csv")
    assert len(parts) == 2 * 2 * len(PART_NAMES)
    eyes = next(row for row in parts if (row["landmarker"], row["subset"], row["part"]) == ("ours", "even", "eyes"))
    assert float(eyes["nme"]) == pytest.approx(both[0].errors[::2, 36:48].mean(), abs=1e-6)
    assert (float(eyes["low"]), float(eyes["high"])) == pytest.approx(
        bootstrap_interval(both[0].errors[::2, 36:48].mean(1)), abs=1e-6
    )
