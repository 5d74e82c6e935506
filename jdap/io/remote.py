"""What the file systems behind fsspec raise, as errors of the operating system, and what they call a file's state: the
one place that knows them.

Back ends raise classes of their own (aiohttp's, botocore's, google.auth's, azure.core's …), most of them no OSError.
They are told apart by the HTTP status that they carry, not by their names, so none of these packages is imported.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Raised by mistakes of ours, not by a back end; passed on as they are.
_OURS = (TypeError, AttributeError, NameError, AssertionError, ImportError, LookupError)
_HOUSES = ("jdap", "data_prep", "benchmarks")
#: HTTP status → what the operating system would say. Every other 4xx is a request that no repetition mends.
_CODES = {
    **dict.fromkeys((404, 410), errno.ENOENT),
    **dict.fromkeys((401, 403, 407), errno.EACCES),
    **dict.fromkeys((409, 412), errno.EEXIST),
    **dict.fromkeys((507, 413), errno.ENOSPC),
    **dict.fromkeys((408, 425, 429), errno.EIO),
    **dict.fromkeys((405, 501), errno.ENOTSUP),
}
#: What file systems call that which changes with a file's contents, the surest first.
STAMPS = (
    *("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "Last-Modified", "updated"),
    *("mtime", "modified", "modification_time", "created"),
)


@contextmanager
def remote_errors(place: str = "") -> Iterator[None]:
    """Raise what a back end raises inside as an :class:`OSError` with an ``errno``, the back end's own as its cause.

    What may pass (a status of 5xx, 408, 429; a connection that breaks; an answer cut short) is ``EIO`` or what the
    operating system said; missing is :class:`FileNotFoundError`, forbidden :class:`PermissionError`. ``place``: its
    ``filename``. ValueErrors (of a URL that nobody understands) and our own mistakes are passed on.
    """
    try:
        yield
    except Exception as error:
        found = as_os_error(error, place)
        if found is None or found is error:
            raise
        raise found from error


def as_os_error(error: BaseException, place: str = "") -> OSError | None:
    """The OSError that stands for what a back end raised; None where it is no back end's."""
    house = type(error).__module__.partition(".")[0]
    if house in _HOUSES or not isinstance(error, Exception):
        return None
    status = http_status(error)
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        # fsspec says "not found" of every answer that is none: what the server said is the cause.
        status = http_status(error.__cause__)
        if status is None and not isinstance(error.__cause__, (FileNotFoundError, *_OURS)):
            status = 503
    if status is not None and status >= 400:
        code = _CODES.get(status, errno.EIO if status >= 500 else errno.EINVAL)
        return OSError(code, f"{_said(code)} (HTTP {status})", place or None)
    if isinstance(error, OSError):
        if error.errno is not None or (type(error).__module__ == "builtins" and type(error) is not OSError):
            return error
        return OSError(errno.EIO, _line(error), place or None)
    if isinstance(error, NotImplementedError):  # of what fsspec's class for this storage lacks: to write, over http
        return OSError(errno.ENOTSUP, _said(errno.ENOTSUP), place or None)
    if isinstance(error, _OURS) or (isinstance(error, ValueError) and house == "builtins"):
        return None
    return OSError(errno.EINVAL if isinstance(error, ValueError) else errno.EIO, _line(error), place or None)


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an exception carries, as aiohttp, requests, botocore, gcsfs and azure say it."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        found = [response.get("ResponseMetadata", {}).get("HTTPStatusCode"), response.get("Error", {}).get("Code")]
    else:
        found = [getattr(response, "status_code", None)]
    for name in (None, "status", "status_code", "code"):
        found += [getattr(error, name, None)] if name else []
        for value in found:
            if str(value).isdecimal() and 100 <= int(str(value)) < 600:
                return int(str(value))
    return None


def stamp_of(info: dict[str, Any]) -> str:
    """That by which fsspec's description of a file tells its contents from others: ETag or time; empty if neither."""
    return next((str(info[name]) for name in STAMPS if info.get(name)), "")


def _said(code: int) -> str:
    if code == errno.ENOTSUP:
        return "this kind of storage cannot do that: use a folder, or a storage that can be written to"
    return os.strerror(code)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")[:200]
