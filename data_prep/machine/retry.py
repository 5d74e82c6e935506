"""Trying again what may pass, with doubled waits: errors of the operating system, and no others.

A missing file stays missing, and a full disk full.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: How often something is tried again, and the seconds before the first time; doubled for each further one.
RETRIES, WAIT_S = 3, 1.0
#: The disk, the quota or the allowed size of a file is used up.
STORAGE_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: What the operating system says of the request, not of the device or the network.
_LASTING = STORAGE_FULL | {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS, errno.EINVAL, errno.EBADF, errno.ENXIO, errno.EXDEV),
    errno.ENOTSUP,
}
_LASTING_KINDS = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


def may_pass(error: OSError) -> bool:
    """Whether trying again may help."""
    return error.errno not in _LASTING and not isinstance(error, _LASTING_KINDS)


def storage_fault(error: BaseException | None) -> OSError | None:
    """The OSError behind an exception that is no fault of the file's contents: one that may pass, or a full disk.

    Decoders raise OSErrors of their own for damaged pictures; those have no ``errno``.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and (error.errno in STORAGE_FULL or may_pass(error)):
            return error
        error = error.__cause__
    return None


def retrying(do: Callable[[], T], retries: int = RETRIES) -> T:
    """What ``do`` returns; it is called at most ``retries`` + 1 times while it raises OSErrors that may pass."""
    for attempt in range(retries):
        try:
            return do()
        except OSError as error:
            if not may_pass(error):
                raise
        time.sleep(WAIT_S * 2**attempt)
    return do()
