"""Opening ONNX files with onnxruntime, on the CPU."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lightning_modules.landmarkers.fixed import not_installed

if TYPE_CHECKING:
    import onnxruntime


def open_session(path: Path) -> "onnxruntime.InferenceSession":
    """A session that uses as many threads as torch.

    Raises:
        WeightsError: onnxruntime is not installed.
        Exception: the file is no network; onnxruntime's errors have no common base.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise not_installed("onnxruntime", "onnx", f"the ONNX file {path}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings about what it optimises, a line each
    # By itself it takes all of the machine's cores, whatever this process may use.
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
