"""How long a task waits before the sweeper looks at it again."""

from datetime import timedelta

# How long a message may take from the store to an actor.
UNPUBLISHED_PAUSE = timedelta(seconds=30)  # the message may not be out yet
PUBLISHED_PAUSE = timedelta(minutes=5)  # the broker has confirmed the message
LONGEST_PAUSE = timedelta(hours=1)  # the message is waiting in a long queue

CLOCK_TOLERANCE = timedelta(seconds=1)  # between two clocks
