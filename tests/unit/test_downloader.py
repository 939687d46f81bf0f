"""The transports of a process's downloads."""

import math
import threading
from collections.abc import Callable

from devtools.servers.raw_origin import RawOrigin, Step, next_request, reply, stall
from fetch.kept import KeptConnections
from settings import Settings
from tasks.digests import ALWAYS
from worker.downloader import Downloader


def in_new_thread(target: Callable[[], object]) -> None:
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()


def test_thread_takes_over_the_connections_of_one_that_has_ended() -> None:
    kept = KeptConnections(idle_seconds=600)
    downloader = Downloader(Settings.from_env({"ALLOW_NETWORKS": "127.0.0.0/8"}), kept)
    script: list[Step] = [reply(b"one"), next_request, reply(b"two"), stall]
    with RawOrigin(script) as origin:

        def fetch() -> None:
            downloader.fetch(origin.base, ALWAYS, lambda *_: None, lambda: False, math.inf, print)

        in_new_thread(fetch)
        fetch()
        assert (len(origin.requests), origin.connections) == (2, 1)
        in_new_thread(fetch)
        assert origin.connections == 2, "the transport of a living thread is its own"
        kept.close_all()
