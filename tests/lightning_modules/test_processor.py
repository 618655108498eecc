"""Which ways of computing are chosen on which processor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_modules import processor
from lightning_modules.processor import amd_with_avx512, has_avx512

AMD, INTEL = "processor\t: 0\nvendor_id\t: AuthenticAMD\n", "processor\t: 0\nvendor_id\t: GenuineIntel\n"


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Answers are kept, but not from one test to the next, nor after them."""
    for found in (has_avx512, amd_with_avx512):
        found.cache_clear()
    yield
    for found in (has_avx512, amd_with_avx512):
        found.cache_clear()


@pytest.mark.parametrize(
    ("capability", "cpuinfo", "avx512", "amd"),
    [
        ("AVX512", AMD, True, True),
        ("AVX512", INTEL, True, False),
        ("AVX2", AMD, False, False),
        ("DEFAULT", "CPU implementer\t: 0x41\n", False, False),
        ("AVX512", None, True, False),
    ],
    ids=["AMD", "Intel", "an older AMD", "ARM", "no Linux"],
)
def test_what_each_processor_is_taken_for(
    capability: str, cpuinfo: str | None, avx512: bool, amd: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert has_avx512() is avx512
    assert amd_with_avx512() is amd
