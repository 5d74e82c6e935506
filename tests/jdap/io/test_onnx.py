"""Networks in ONNX: a convolution written by hand, and what is none."""

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_convolution

from jdap.io.onnx import open_onnx


def test_a_network_runs_on_one_thread(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    weight, bias = np.array([[2, 0, -1], [1, 1, 1]], np.float32), np.array([0.5, -1], np.float32)
    session = open_onnx(write_convolution(tmp_path / "a.onnx", weight, bias))
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    given = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    (out,) = session.run(None, {"in": given})
    expected = np.einsum("kc,nchw->nkhw", weight, given) + bias[:, None, None]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_what_is_no_network_is_told_by_its_name(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "b.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"b\.onnx: cannot be read as ONNX"):
        open_onnx(tmp_path / "b.onnx")


def test_without_onnxruntime_it_is_an_import_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="onnxruntime"):
        open_onnx(tmp_path / "a.onnx")
