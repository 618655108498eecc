"""A page to look through: all faces, the most doubtful first."""

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np

from datamodules.transforms import CROP_FACTOR, Square, apply_matrix, cut
from prediction.faces import PredictedFace
from prediction.outputs.base import Record, write_whole
from prediction.outputs.overlays import draw_landmarks, overlay_name, write_jpeg

_SIDE: Final = 256
"""Side of a face's picture on the page, in pixels."""
_AROUND: Final = 1.5
"""Side of what it shows over the longer side of the landmarks' box."""

_HEAD: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<title>Landmarks found</title>
<style>
body { font: 14px/1.4 sans-serif; margin: 1.5em; background: #fff; color: #222 }
main { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0; width: 256px }
figure img { display: block; width: 256px; height: 256px; background: #000 }
figcaption { overflow-wrap: anywhere }
small { color: #666 }
</style>
"""


@dataclass(frozen=True)
class _Card:
    doubt: float
    number: int
    html: str


class SheetOutput:
    """``index.html``: each face with its landmarks and how doubtful they are, sorted by that; pictures without a face.

    The page and its pictures, in ``faces/``, refer to nothing outside their folder.

    Args:
        folder: exists; ``faces`` is made in it.
        title: of the page.
        linked: link each face to its picture's overlay.
    """

    def __init__(self, folder: Path, title: str, linked: bool) -> None:
        self._page, self._faces, self._title, self._linked = folder / "index.html", folder / "faces", title, linked
        self._faces.mkdir(exist_ok=True)
        self._cards: list[_Card] = []
        self._without: list[tuple[int, str]] = []

    def add(self, record: Record) -> None:
        """Write a picture of each face and keep its card."""
        result = record.result
        if not result.faces:
            said = "no face found" if result.problem is None else str(result.problem)
            self._without.append((result.number, f"<li>{escape(record.name)}: {escape(said)}</li>"))
        for name, face in zip(record.names, result.faces, strict=True):
            self._picture(record, name, face)
            self._cards.append(_Card(face.doubt, result.number, self._card(record, name, face)))

    def _picture(self, record: Record, name: str, face: PredictedFace) -> None:
        assert record.result.image is not None, "faces are found in pictures"
        around = Square.around(face.box)
        matrix = around._replace(side=max(around.side * _AROUND / CROP_FACTOR, 1.0)).matrix(_SIDE)
        picture = cut(record.result.image, matrix, _SIDE)
        draw_landmarks(picture, apply_matrix(matrix, face.landmarks))
        write_jpeg(self._faces / f"{name}.jpg", picture)

    def _card(self, record: Record, name: str, face: PredictedFace) -> str:
        image = f'<img src="faces/{quote(name)}.jpg" alt="{escape(name, quote=True)}" loading="lazy">'
        if self._linked:
            image = f'<a href="overlays/{quote(overlay_name(record))}">{image}</a>'
        told = [f"doubt {face.doubt:.1f} %"] if math.isfinite(face.doubt) else []
        told += [f"score {face.score:.2f}"] if math.isfinite(face.score) else []
        caption = f"{escape(name)}<br><small>{', '.join(told)}</small>"
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"

    def close(self) -> None:
        """Write the page."""
        ranked = sorted(self._cards, key=lambda card: (-np.nan_to_num(card.doubt, nan=-1.0), card.number))
        parts = [_HEAD, f"<h1>{escape(self._title)}</h1>"]
        parts.append(
            f"<p>{len(ranked)} faces, the most doubtful first. Doubt is the mean standard deviation of a face's "
            "landmarks, in % of the distance between its outer eye corners.</p>"
        )
        parts += ["<main>", *(card.html for card in ranked), "</main>"]
        if self._without:
            lines = [line for _, line in sorted(self._without)]
            parts += [f"<h2>{len(lines)} pictures without a face</h2>", "<ul>", *lines, "</ul>"]
        text = "\n".join([*parts, "</html>", ""])
        write_whole(self._page, lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace"))
