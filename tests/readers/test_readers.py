"""No file, whatever it holds, makes a reader end in a traceback, hang, or return what is of another form.

A few inputs of each kind, always the same ones; ``python -m tests.readers --examples 5000`` tries many.
"""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.readers.readers import readers, try_one

READERS = readers()
SLOW = frozenset({"landmarker", "onnx"})
"""They build networks."""


@pytest.mark.parametrize("name", READERS)
def test_any_file_is_read_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    reader, folder = READERS[name], tmp_path_factory.mktemp("reader")

    @settings(
        max_examples=4 if name in SLOW else 25,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=reader.given)
    def tried(data: bytes) -> None:
        try_one(reader, folder / f"file{reader.suffix}", data)

    tried()
