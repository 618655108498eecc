"""What prediction writes: points, tables, overlays, and a page to look through."""

from prediction.outputs.base import Names, Output, Record, describe
from prediction.outputs.overlays import OverlayOutput, draw_faces
from prediction.outputs.points import PointsOutput
from prediction.outputs.sheet import SheetOutput
from prediction.outputs.tables import CsvOutput, JsonOutput

__all__ = [
    "Output",
    "Record",
    "Names",
    "describe",
    "PointsOutput",
    "JsonOutput",
    "CsvOutput",
    "OverlayOutput",
    "SheetOutput",
    "draw_faces",
]
