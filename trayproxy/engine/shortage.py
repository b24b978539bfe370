"""What this computer has run out of, told apart from what is wrong with somebody else.

A connection that cannot be made for want of descriptors, memory or ports of its own says nothing
about the next hop: the client is told to come again, and the next hop is as good as before.
"""

import errno
import os

NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""No more descriptors for this process, or for the system."""
_SHORTAGES = NO_DESCRIPTORS | {errno.ENOMEM, errno.ENOBUFS}


def is_shortage(error: BaseException) -> bool:
    """Return whether an operation has failed for want of something of this computer."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES


def lacks_descriptors() -> bool:
    """Return whether no more descriptors can be had now.

    For failures of a library that does not pass on the reason: the resolver reports a name that it
    could not ask for as one that does not exist.
    """
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        return error.errno in NO_DESCRIPTORS
    os.close(descriptor)
    return False
