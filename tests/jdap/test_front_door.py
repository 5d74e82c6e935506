"""``import jdap``: what it gives, and what it costs."""

import re
import subprocess
import sys
from pathlib import Path

import jdap

ROOT = Path(jdap.__file__).parent


def test_importing_costs_nothing_heavy():
    code = "import sys, jdap; print([m for m in ('torch', 'diffusers', 'lightning', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there_and_the_stub_says_the_same():
    for name in jdap.__all__:
        assert getattr(jdap, name) is not None
    stub = (ROOT / "__init__.pyi").read_text()
    named = set(re.findall(r"import \w+ as (\w+)", stub)) | {"__version__"}
    assert named == set(jdap.__all__)
    for module, name in re.findall(r"from ([\w.]+) import (\w+) as", stub):
        assert getattr(jdap, name).__module__ == module


def test_types_are_told():
    assert (ROOT / "py.typed").is_file()
    assert (ROOT.parent / "data_prep" / "py.typed").is_file()
