"""What is done in the background. `dramatiq actors` imports this to make a process a worker."""

import os
import sys

if "dramatiq.cli" in sys.modules:
    from actors.worker import compose_worker

    compose_worker(os.environ)
