"""Whatever a file may hold: bytes without a meaning, and files of the true formats with a few bytes changed."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from datamodules.synthetic import face_geometry
from lightning_modules.landmarkers.spiga.face_3d import PUBLISHED_IDS

ROOT = Path(__file__).parents[2]
_POINTS = face_geometry("photo", 0, 0, 64, difficulty=0.2).landmarks
_PTS_WORDS = [
    "version: 1\n",
    "n_points: 68\n",
    "{\n",
    "}\n",
    "1.5 2.5\n",
    "1,5 2,5\n",
    "1 2 3\n",
    "nan 1\n",
    "1e999 2\n",
    "#",
]
_YAML_WORDS = [
    "class_path",
    "init_args",
    "rows",
    "choices",
    "seeds",
    "config",
    "no",
    "1e3",
    "${",
    "&a",
    "*a",
    "<<",
    "!!python/x",
]


def npy(array: np.ndarray) -> bytes:
    np.save(file := io.BytesIO(), array, allow_pickle=True)
    return file.getvalue()


def image(format: str, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 4)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(file := io.BytesIO(), format, **options)
    return file.getvalue()


def pts() -> bytes:
    rows = "".join(f"{x:.3f} {y:.3f}\n" for x, y in _POINTS + 1)
    return f"version: 1\nn_points: 68\n{{\n{rows}}}\n".encode()


def face_3d() -> bytes:
    """SPIGA's published form."""
    return "".join(f"{key}|{k}.5|2|3\n" for k, key in enumerate(PUBLISHED_IDS)).encode()


def torch_file(content: object) -> bytes:
    torch.save(content, file := io.BytesIO())
    return file.getvalue()


STATE = {"landmarker.a": torch.zeros(2, 3), "landmarker.b": torch.ones(1)}
LANDMARKERS = [pts(), pts().replace(b" ", b", "), pts().replace(b"{", b"").replace(b"}", b"")]
ARRAYS = [npy(_POINTS), npy(_POINTS[None]), npy(_POINTS.T), npy(np.array([{"a": 1}], object)), npy(_POINTS.astype(str))]
SHAPES = [npy(_POINTS[None]), npy(np.zeros((2, 68, 3)))]
PICTURES = [
    *(image(format) for format in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "JPEG2000", "PPM", "AVIF")),
    *(image("PNG", mode) for mode in ("RGBA", "LA", "P", "1", "L")),
    image("TIFF", compression="tiff_lzw"),
    image("JPEG", "CMYK"),
    image("JPEG", progressive=True),
]
BOXES = [b"name,x0,y0,x1,y1\na.jpg,1,2,30,40\nb.jpg,3,4,50,60\n", b"name;x;y;w;h\na.jpg;1,5;2;30;40\n"]
LISTS = [b"a.jpg\nb.jpg\nimage_092 _01.jpg\n", "é.png\n".encode()]
CHECKPOINTS = [
    torch_file({"state_dict": STATE, "landmarker": {"class_path": "x.Y", "init_args": {}}}),
    torch_file(STATE),
    torch_file([1, "a"]),
]
SAFETENSORS = [save({"a": torch.zeros(2)}), save({"a": torch.zeros(2)}, {"warpmark": json.dumps({"name": "x"})})]


def yaml_files(folder: str) -> list[bytes]:
    """Those that fetch nothing."""
    contents = [path.read_bytes() for path in sorted((ROOT / folder).glob("*.yaml"))]
    return [content for content in contents if b"RAFT" not in content]


def changed(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the files, with up to six cuts, insertions and flips."""
    edit = st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12))
    return st.builds(_edited, st.sampled_from(seeds), st.lists(edit, max_size=6))


def _edited(seed: bytes, edits: Sequence[tuple[float, int, bytes]]) -> bytes:
    data = bytearray(seed)
    for place, cut, new in edits:
        start = int(place * len(data))
        data[start : start + cut] = new
    return bytes(data)


def text(words: Sequence[str], seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """The files changed, words of the format in any order, and any text."""
    some = st.lists(st.one_of(st.sampled_from(list(words)), st.text(max_size=8)), max_size=90).map("".join)
    return st.one_of(changed(seeds), some.map(lambda words: words.encode(errors="replace")), st.binary(max_size=200))


def yaml_text(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Files changed, and any plain structure under the keys that the readers know."""
    keys = st.one_of(st.sampled_from(_YAML_WORDS[:6]), st.text("ab", max_size=3))
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(_YAML_WORDS)
    )
    plain = st.recursive(
        leaves, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4))
    )
    return st.one_of(changed(seeds), plain.map(lambda value: yaml.safe_dump(value).encode()), text(_YAML_WORDS, seeds))


def binary(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(changed(seeds), changed(seeds), st.binary(max_size=300))


def checkpoints() -> st.SearchStrategy[bytes]:
    """Whole files that hold, under the keys of a checkpoint, values of any type."""
    plain = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers())
    )
    names = st.one_of(st.sampled_from([*STATE, "module.a", "landmarker."]), st.text(max_size=5), st.integers())
    tensors = st.sampled_from([*STATE.values(), torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.int64)])
    state = st.one_of(plain, st.dictionaries(names, st.one_of(tensors, plain), max_size=4))
    classes = st.sampled_from(["lightning_modules.landmarkers.SLPT", "SLPT", "os.system", "no.such.Class", "", None, 3])
    arguments = st.one_of(plain, st.dictionaries(st.sampled_from(["image_size", "no"]), plain, max_size=2))
    spec = st.one_of(plain, st.fixed_dictionaries({}, optional={"class_path": classes, "init_args": arguments}))
    keys = {
        "state_dict": state,
        "landmarker": spec,
        "net": state,
        "pytorch-lightning_version": plain,
        "provenance": plain,
    }
    whole = st.one_of(plain, st.fixed_dictionaries({}, optional=keys), st.fixed_dictionaries(keys), state)
    return st.one_of(whole.map(torch_file), binary(CHECKPOINTS))


PTS_TEXT = text(_PTS_WORDS, LANDMARKERS)
