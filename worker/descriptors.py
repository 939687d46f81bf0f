"""How many files and sockets this process may have open."""

import resource
from contextlib import suppress

MAX_DESCRIPTORS = 65_536  # more than all threads use; some systems have a hard limit of 10^9


def raise_descriptor_limit() -> None:
    """Raise the soft limit on descriptors to the hard one, at most to MAX_DESCRIPTORS.

    The usual soft limit of 1024 is for programs that call select(); this one uses poll().
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # a sandbox forbids it: the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
