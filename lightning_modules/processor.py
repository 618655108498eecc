"""What the libraries that torch computes with on a CPU make of this one."""

import re
from functools import lru_cache
from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")


@lru_cache(maxsize=1)
def has_avx512() -> bool:
    """Whether torch uses AVX-512 here: not where the processor lacks it, or ``ATEN_CPU_CAPABILITY`` says otherwise."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


@lru_cache(maxsize=1)
def amd_with_avx512() -> bool:
    """Whether this is a processor of AMD's with AVX-512, which oneDNN uses and MKL does not. Known on Linux alone."""
    if not has_avx512() or not _CPUINFO.is_file():
        return False
    return re.search(r"^vendor_id\s*:\s*AuthenticAMD", _CPUINFO.read_text(), re.MULTILINE) is not None
