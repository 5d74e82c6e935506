"""What all tests share: seeds, and the folder of development assets."""

import os
from pathlib import Path

import pytest
import torch

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "assets"
if "JDAP_ASSETS" not in os.environ and _BESIDE.is_dir():
    os.environ["JDAP_ASSETS"] = str(_BESIDE)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of development assets; tests that need it are skipped where it is not there."""
    folder = os.environ.get("JDAP_ASSETS", "")
    if not Path(folder).is_dir() or not folder:
        pytest.skip(
            "needs development assets: set JDAP_ASSETS to a folder that holds ict_facekit/, mediapipe/, videos/ …"
        )
    return Path(folder)
