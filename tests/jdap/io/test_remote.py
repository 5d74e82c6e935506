"""Errors of back ends become errors of the operating system; mistakes of ours stay what they are."""

import errno
from types import SimpleNamespace

import fsspec
import pytest
from aiohttp import ClientPayloadError, ClientResponseError
from fsspec.exceptions import FSTimeoutError

from jdap.io.remote import as_os_error, remote_errors
from jdap.shards.schema import SchemaError


class Botos(Exception):
    """As botocore's ClientError carries its status."""

    def __init__(self, status: int, code: str = "SlowDown"):
        super().__init__("An error occurred (SlowDown) when calling the GetObject operation")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class Googles(Exception):
    """As gcsfs' HttpError."""

    def __init__(self, code: int):
        super().__init__("rate limit")
        self.code = code


class Azures(Exception):
    """As azure.core's HttpResponseError."""

    def __init__(self, status_code: int):
        super().__init__("the server is busy")
        self.status_code = status_code


class Requests(OSError):
    """As requests' HTTPError: an OSError without a number."""

    def __init__(self, status: int):
        super().__init__("server error")
        self.response = SimpleNamespace(status_code=status)


class Torn(Exception):
    """Of a connection that broke, as many back ends have one."""


def answered(status: int) -> ClientResponseError:
    return ClientResponseError(SimpleNamespace(real_url="http://x"), (), status=status)  # type: ignore[arg-type]


def hidden(status: int) -> FileNotFoundError:
    """What fsspec makes of any answer that is none."""
    error = FileNotFoundError("http://x/a.mp4")
    error.__cause__ = answered(status)
    return error


@pytest.mark.parametrize("made", [answered, Botos, Googles, Azures, Requests, hidden])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((status, errno.EIO) for status in (500, 503, 429)),
        *((404, errno.ENOENT), (403, errno.EACCES), (400, errno.EINVAL)),
    ],
)
def test_a_status_says_whether_it_may_pass(made, status: int, code: int) -> None:
    with pytest.raises(OSError, match=rf"HTTP {status}") as found, remote_errors("s3://bucket"):
        raise made(status)
    assert found.value.errno == code
    assert isinstance(found.value, FileNotFoundError) == (code == errno.ENOENT)
    assert found.value.__cause__ is not None


@pytest.mark.parametrize("error", [ClientPayloadError("not enough data"), Torn("reset"), EOFError(), FSTimeoutError()])
def test_what_breaks_off_may_pass(error: Exception) -> None:
    found = as_os_error(error)
    assert found is not None
    assert found.errno in (errno.EIO, None)
    assert type(found) in (OSError, FSTimeoutError)


def test_what_a_storage_cannot_do_is_said() -> None:
    with pytest.raises(NotImplementedError) as own:  # fsspec's, of a kind of storage that is only read
        fsspec.filesystem("http").rm_file("http://x")
    for error in (own.value, answered(501), answered(405)):
        with pytest.raises(OSError, match=r"that can be written to.*http://x") as found, remote_errors("http://x"):
            raise error
        assert found.value.errno == errno.ENOTSUP


def test_what_the_system_says_stays(tmp_path) -> None:
    torn, full = ConnectionResetError(errno.ECONNRESET, "reset"), OSError(errno.ENOSPC, "x")
    for error in (FileNotFoundError("gone"), torn, full):
        with pytest.raises(OSError, match=str(error.args[-1])) as found, remote_errors():
            raise error
        assert found.value is error


@pytest.mark.parametrize(
    "error", [TypeError("x"), ValueError("Protocol not known: s4"), KeyError("x"), SchemaError("x")]
)
def test_mistakes_are_no_fault_of_the_storage(error: Exception) -> None:
    with pytest.raises(type(error)) as found, remote_errors():
        raise error
    assert found.value is error
