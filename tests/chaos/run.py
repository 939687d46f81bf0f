"""One run: clients that submit, one disaster after another, then peace, then the books."""

import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import requests

from devtools.waiting import wait_for
from tasks.errors import StoreUnavailableError
from tests.chaos.batches import submit_lists
from tests.chaos.disasters import DISTRIBUTED, EMBEDDED
from tests.chaos.ledger import Ledger
from tests.chaos.origin import KINDS, FickleOrigin
from tests.chaos.scene import Scene
from tests.e2e.ledger import unsettled

PAUSE_SECONDS = 0.05  # between two submits
CALM_SECONDS = 2.0  # between two disasters, at the most
ROUND_SECONDS = 3.0  # until pauses are cut short again
PEACE_SECONDS = 90.0  # in which at least one more task must be settled, after the last disaster


def run(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    is_distributed: bool,
    tell: Callable[[str], object] = lambda _: None,
) -> Ledger:
    """Let disasters happen for so many seconds; the same seed chooses the same ones."""
    chance = random.Random(seed)
    ledger = Ledger()
    stopped = threading.Event()
    with FickleOrigin() as origin:
        scene = Scene(folder, chance, is_distributed=is_distributed)
        disasters = DISTRIBUTED if is_distributed else EMBEDDED
        try:
            clients = [
                threading.Thread(
                    target=target, args=(scene, origin, books, random.Random(seed), stopped)
                )
                for target, books in ((_submit, ledger), (submit_lists, ledger.batches))
            ]
            for client in clients:
                client.start()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                disaster = chance.choice(disasters)
                tell(disaster.__name__)
                ledger.disasters[disaster.__name__] += 1
                disaster(scene)
                scene.pause(0, CALM_SECONDS)
            stopped.set()
            for client in clients:
                client.join()
            _wait_for_peace(scene)
            ledger.close(scene, origin)
        finally:
            stopped.set()
            ledger.problems += scene.stop()
    return ledger


def _submit(
    scene: Scene,
    origin: FickleOrigin,
    ledger: Ledger,
    chance: random.Random,
    stopped: threading.Event,
) -> None:
    number = 0
    while not stopped.wait(PAUSE_SECONDS):
        number += 1
        path = f"/{chance.choice(KINDS)}/{number}"
        email = f"user{number}@example.com"
        try:
            response = scene.service.try_to_submit(f"{origin.base}{path}", email=email)
        except requests.RequestException:
            ledger.unanswered += 1
            continue
        if response.status_code == HTTPStatus.ACCEPTED:
            ledger.accepted[response.json()["id"]] = path
        elif response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            ledger.refused += 1
        else:
            ledger.problems.append(f"a submit was answered with {response.status_code}")


def _wait_for_peace(scene: Scene) -> None:
    """Wait until all tasks are settled, or until none is settled for `PEACE_SECONDS`.

    Retries of tasks and mails, which would pause for minutes, become due at once.
    """
    store = scene.system.store
    fewest, end = sys.maxsize, time.monotonic() + PEACE_SECONDS
    while time.monotonic() < end:
        with suppress(StoreUnavailableError, AssertionError):  # it is recovering, or they are
            left = unsettled(store)
            if len(left) < fewest:
                fewest, end = len(left), time.monotonic() + PEACE_SECONDS
            for task in left:
                if task.next_step is not None and task.member is None:
                    store.save(replace(task, wake_at=store.now(), retry_at=None))
            wait_for(lambda: store.count_unfinished(1) == 0, ROUND_SECONDS)
            return
