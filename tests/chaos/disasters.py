"""What may befall the running system; each disaster is over when its function returns."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TypeVar

from devtools.servers.system import Workers
from tests.chaos.scene import Scene
from tests.faults import mongodb, rabbitmq, smtp, sqlite

LONGEST_SECONDS = 6.0  # twice the lease of the tests

CLOSE_ALL_CONNECTIONS = """
    [rabbit_networking:close_connection(Pid, "chaos") || Pid <- rabbit_networking:connections()]."""

Disaster = Callable[[Scene], None]
Server = TypeVar("Server")


def kill_a_worker_process(scene: Scene) -> None:
    scene.note_death()
    _try_to_kill(scene.chance.choice(_some_workers(scene).children))


def kill_a_master(scene: Scene) -> None:
    scene.note_death()  # whoever starts it again makes an end of its children
    _try_to_kill(_some_workers(scene).pid)


def kill_all_workers(scene: Scene) -> None:
    scene.note_death()
    for workers in scene.workers:
        workers.kill()


def kill_the_service(scene: Scene) -> None:
    _note_death_inside(scene)
    scene.service.kill()


def stop_the_service(scene: Scene) -> None:
    scene.service.send(signal.SIGTERM)


def freeze_the_service(scene: Scene) -> None:
    _note_death_inside(scene)
    service = scene.service
    with suppress(ProcessLookupError, ChildProcessError):  # it may just have ended
        service.send(signal.SIGSTOP)
        _last(scene)
        service.send(signal.SIGCONT)


def lock_the_file(scene: Scene) -> None:
    with sqlite.locked(Path(scene.system.environ["DATA_DIR"])):
        _last(scene)


def stop_a_worker(scene: Scene) -> None:
    _some_workers(scene).send(signal.SIGTERM)


def freeze_a_worker(scene: Scene) -> None:
    workers = _some_workers(scene)
    scene.note_death()
    with suppress(ProcessLookupError):  # they may just have ended
        workers.signal_all(signal.SIGSTOP)
        _last(scene)
        workers.signal_all(signal.SIGCONT)


def close_all_connections(scene: Scene) -> None:
    for _ in range(3):
        scene.rabbitmq.control("eval", CLOSE_ALL_CONNECTIONS)
        scene.pause(0, 2)


def purge_the_queues(scene: Scene) -> None:
    scene.rabbitmq.purge()


def delete_the_queues(scene: Scene) -> None:
    scene.rabbitmq.delete_queues()


def _faults(
    name: str,
    server_of: Callable[[Scene], Server],
    *faults: Callable[[Server], AbstractContextManager[None]],
) -> Iterator[Disaster]:
    """Each fault of a server, for a while."""
    for fault in faults:

        def disaster(
            scene: Scene, fault: Callable[[Server], AbstractContextManager[None]] = fault
        ) -> None:
            with fault(server_of(scene)):
                _last(scene)

        disaster.__name__ = f"{name} {fault.__name__}"
        yield disaster


def _last(scene: Scene) -> None:
    scene.pause(0.2, LONGEST_SECONDS)


def _note_death_inside(scene: Scene) -> None:
    """Note the death of the embedded workers, which die with the service."""
    if not scene.workers:
        scene.note_death()


def _some_workers(scene: Scene) -> Workers:
    return scene.chance.choice(scene.workers)


def _try_to_kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has just died of something else
        os.kill(pid, signal.SIGKILL)


_OF_MAIL = [
    *_faults(
        "smtp",
        lambda scene: scene.inbox,
        smtp.closed,
        smtp.busy,
        smtp.silent,
        smtp.mute,
        smtp.replying("DATA", "451 later"),
        smtp.replying("DATA", ""),
    )
]
EMBEDDED: list[Disaster] = [
    kill_the_service,
    stop_the_service,
    freeze_the_service,
    lock_the_file,
    *_OF_MAIL,
]
DISTRIBUTED: list[Disaster] = [
    kill_a_worker_process,
    kill_a_master,
    kill_all_workers,
    kill_the_service,
    stop_the_service,
    freeze_the_service,
    stop_a_worker,
    freeze_a_worker,
    close_all_connections,
    purge_the_queues,
    delete_the_queues,
    *_faults(
        "rabbitmq",
        lambda scene: scene.rabbitmq,
        rabbitmq.down,
        rabbitmq.frozen,
        rabbitmq.out_of_memory,
    ),
    *_faults(
        "mongodb",
        lambda scene: scene.mongod,
        mongodb.killed,
        mongodb.frozen,
        mongodb.stepped_down,
        mongodb.hanging_up,
        mongodb.without_disk,
        mongodb.slow,
    ),
    *_OF_MAIL,
]
