"""Reading and writing single files: ``.pts``, ``.npy``, lists of image names, images.

Every reader raises :class:`~datamodules.faces.DataError` naming the file, what was found, what was expected and what to
do; whatever a file holds, it raises nothing else.
"""

from datamodules.formats.images import (
    IMAGE_SUFFIXES,
    ImageCheck,
    check_image,
    oddity_of,
    read_image,
    read_picture,
    upright_rgb,
)
from datamodules.formats.landmarks import read_npy, read_pts, write_npy, write_pts
from datamodules.formats.names import read_list
from datamodules.formats.reading import bad_file, begins_as_picture, plain_name, read_bytes, read_text, shown

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageCheck",
    "bad_file",
    "begins_as_picture",
    "check_image",
    "oddity_of",
    "plain_name",
    "read_bytes",
    "read_image",
    "read_list",
    "read_npy",
    "read_picture",
    "read_pts",
    "read_text",
    "shown",
    "upright_rgb",
    "write_npy",
    "write_pts",
]
