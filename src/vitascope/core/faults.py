"""Whose fault a failure is: the file's own, worth remembering, or the machine's, which may be gone next time."""

from __future__ import annotations

import errno
import signal

SCARCE = frozenset({errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
"""What a machine runs out of: no content of a file gives these."""
FLEETING = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.ECONNREFUSED,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)
"""What disks and networks say for a while; codecs use the same numbers for damaged content."""
CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
)
"""Signals by which a process ends itself; every other one is sent by somebody: a user, or the kernel out of memory."""


NO_MEMORY = ("failed to map segment", "cannot allocate memory", "can't allocate memory", "not enough memory")
"""What the loader of libraries and the allocator of torch say, as ImportError and RuntimeError."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the machine, or the limit of this process, has no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, ImportError | RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


def of_machine(error: BaseException) -> bool:
    """Return whether the machine, not the content of a file, is to blame for an error."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, OSError) or error.errno is None:
        return False
    system = type(error).__module__ == "builtins"  # rather than a codec's error of the same number
    return error.errno in SCARCE or (system and error.errno in FLEETING)
