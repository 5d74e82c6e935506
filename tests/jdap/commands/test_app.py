"""``jdap app``: what can be wrong before the page opens."""

import socket
import sys

import pytest

from jdap.__main__ import main

pytest.importorskip("trimesh", reason='needs trimesh: pip install "jdap[app]"')


def failure(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        port = str(door.getsockname()[1])
        assert f"--port {port}" in failure(["app", "--port", port], capsys)


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_what_is_no_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["app", "--port", port])
    assert "65535" in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("jdap.app.page")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = str(door.getsockname()[1])
    assert 'pip install "jdap[app]"' in failure(["app", "--port", port], capsys)
