"""What libraries say that tells nothing is left out, everything else is heard, and JDAP_VERBOSE=1 lets all be heard."""

import logging
import os
import subprocess
import sys
import warnings

import pytest

from jdap.io import quiet

NOISE = "Found 42 module(s) in eval mode at the start of training. This may lead to unexpected behavior."


@pytest.fixture
def told(monkeypatch):
    """The warnings that are heard of two, of which one is noise."""
    monkeypatch.setattr(sys, "warnoptions", [])

    def of() -> list[str]:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            quiet.hush_libraries()
            warnings.warn(NOISE, stacklevel=1)
            warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, use another", FutureWarning, stacklevel=1)
            warnings.warn("the data of the checkpoint cannot be gone on with", stacklevel=1)
        return [str(one.message) for one in heard]

    return of


def test_warnings_of_libraries_are_left_out_and_ours_are_not(told, monkeypatch):
    monkeypatch.delenv(quiet.VERBOSE_ENVIRONMENT, raising=False)
    assert told() == ["the data of the checkpoint cannot be gone on with"]


@pytest.mark.parametrize("value", ["1", "yes"])
def test_verbose_lets_all_be_heard(told, monkeypatch, value):
    monkeypatch.setenv(quiet.VERBOSE_ENVIRONMENT, value)
    assert len(told()) == 3


def test_what_python_was_told_of_warnings_stays(told, monkeypatch):
    monkeypatch.delenv(quiet.VERBOSE_ENVIRONMENT, raising=False)
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    assert len(told()) == 3


def test_lightnings_tips_are_left_out_of_its_log(monkeypatch, caplog):
    monkeypatch.delenv(quiet.VERBOSE_ENVIRONMENT, raising=False)
    quiet.hush_libraries()
    log = logging.getLogger(quiet.LOGGERS[0])
    monkeypatch.setattr(log, "propagate", True)
    log.addHandler(caplog.handler)
    try:
        log.warning("💡 Tip: For seamless cloud logging, install another package")
        log.warning("GPU available: False, used: False")
        log.warning("Time limit reached")
    finally:
        log.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"Time limit reached"}


NATIVE = """
import os
from jdap.io.quiet import hushed_stderr
with hushed_stderr():
    os.write(2, b"W0000 00:00:1.2 3 inference_feedback_manager.cc:121] Feedback manager requires a model\\n")
    os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\n")
    os.write(2, b"E0000 00:00:1.2 3 graph.cc:1] something is wrong\\n")
os.write(2, b"after\\n")
"""


@pytest.mark.parametrize(("verbose", "lines"), [("0", 2), ("1", 4)])
def test_native_lines_are_left_out_by_name(verbose, lines):
    env = os.environ | {quiet.VERBOSE_ENVIRONMENT: verbose}
    heard = subprocess.run([sys.executable, "-c", NATIVE], env=env, capture_output=True, text=True, check=True).stderr
    assert len(heard.splitlines()) == lines
    assert heard.endswith("graph.cc:1] something is wrong\nafter\n")


def test_native_lines_come_back_after_an_error():
    program = (
        "import os\nfrom jdap.io.quiet import hushed_stderr\nwith hushed_stderr():\n  os.write(2, b'why\\n')\n  1/0"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.startswith("why\n")
    assert "ZeroDivisionError" in done.stderr
