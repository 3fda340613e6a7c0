"""Unix sockets in the file system: taken without a moment in which they are open to the wrong ones, or to nobody.

A socket is bound in a private directory and then renamed to its path. So it has its mode before anyone can see it, it
replaces what a killed process left in one step, and gRPC, which removes whatever socket it finds at the path that it is
given, never sees ours.
"""

import errno
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MODE: Final = 0o660
"""Connecting needs the right to write: the owner and the group of the service."""
_NAME: Final = "s"
"""Short, since the whole path of a socket is."""
_LONGEST_PATH_BYTES: Final = 103
"""Of the common systems' limits the least (macOS; Linux has 107)."""
_NOBODY_LISTENS: Final = (errno.ECONNREFUSED, errno.ENOENT)
_SOMEBODY_LISTENS: Final = (0, errno.EAGAIN, errno.EINPROGRESS)


@contextmanager
def placed(path: str) -> Iterator[str]:
    """Gives the path to bind and listen at; after the block the socket stands at `path`, whose former one is gone.

    Raises:
        OSError: a process listens there (EADDRINUSE), no socket stands there, or the directory cannot be written.
    """
    check_free(path)
    directory = tempfile.mkdtemp(prefix="", dir=Path(path).parent)
    try:
        place = Path(directory, _NAME)
        yield str(place)
        place.chmod(_MODE)
        check_free(path)
        place.rename(path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def check_free(path: str) -> None:
    """Raise OSError unless nothing stands at `path`, or a socket that nobody listens on."""
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, f"the path of a socket has {_LONGEST_PATH_BYTES} bytes at most")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trying:
        trying.setblocking(False)
        problem = trying.connect_ex(path)
    if problem in _NOBODY_LISTENS:
        return
    problem = errno.EADDRINUSE if problem in _SOMEBODY_LISTENS else problem
    raise OSError(problem, os.strerror(problem))


def check(path: str) -> None:
    """Raise OSError when a socket could not stand at `path`; leaves nothing behind."""
    check_free(path)
    directory = tempfile.mkdtemp(prefix="", dir=Path(path).parent)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trying:
            trying.bind(str(Path(directory, _NAME)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def remove(path: str) -> None:
    """To be called while its owner still listens, so that nobody else's is there."""
    Path(path).unlink(missing_ok=True)
