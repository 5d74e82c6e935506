"""Networks in ONNX, run on the CPU (the one file that imports onnxruntime)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_onnx(path: Path) -> Any:
    """The onnxruntime session of a file (``.onnx`` or ``.ort``): one thread, for sums depend on the number of threads.

    Raises ImportError, with the extra to install, without onnxruntime, and ValueError for what is no network; both name
    the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"{path}: networks in ONNX need onnxruntime: pip install 'jdap[parser]'", name="onnxruntime"
        ) from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise ValueError(f"{path}: cannot be read as ONNX ({str(error).splitlines()[0]})") from error
