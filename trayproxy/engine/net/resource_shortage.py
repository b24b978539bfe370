"""Distinguish errors caused by a shortage on this computer from errors of the next hop.

A connection that cannot be opened for lack of descriptors or memory on this computer says nothing
about the next hop: the client gets a 503 and may retry, and the next hop is not marked as dead.
"""

import errno
import os

NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""The process, or the system, has no free descriptors."""
_SHORTAGES = NO_DESCRIPTORS | {errno.ENOMEM, errno.ENOBUFS}


def is_shortage(error: BaseException) -> bool:
    """Return whether an error was caused by a lack of descriptors or memory on this computer."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES


def lacks_descriptors() -> bool:
    """Return whether no descriptor can be opened at the moment.

    This is for libraries hiding the cause of an error: without a free descriptor the resolver
    cannot send its query, and reports an unknown name.
    """
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        return error.errno in NO_DESCRIPTORS
    os.close(descriptor)
    return False
