"""The entry point of `dramatiq actors`: importing this package makes the process a worker.

Dramatiq expects of the module on its command line that its import sets the broker. This is the
only import in the project that does anything, so nothing else imports it.
"""

import os

from worker.runtime import compose_worker

compose_worker(os.environ)
