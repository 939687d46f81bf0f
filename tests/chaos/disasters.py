"""What may befall the running system; each disaster is over when its function returns."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from tests.chaos.scene import Scene
from tests.faults import mongodb, rabbitmq, smtp
from tests.servers.inbox import Inbox
from tests.servers.mongod import Mongod
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.system import Workers

LONGEST_SECONDS = 6.0  # twice the lease of the tests

CLOSE_ALL_CONNECTIONS = """
    [rabbit_networking:close_connection(Pid, "chaos") || Pid <- rabbit_networking:connections()]."""

Disaster = Callable[[Scene], None]


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
    scene.service.kill()


def stop_a_worker(scene: Scene) -> None:
    _some_workers(scene).send(signal.SIGTERM)


def freeze_a_worker(scene: Scene) -> None:
    workers = _some_workers(scene)
    scene.note_death()
    workers.signal_all(signal.SIGSTOP)
    _last(scene)
    workers.signal_all(signal.SIGCONT)


def close_all_connections(scene: Scene) -> None:
    for _ in range(3):
        scene.rabbitmq.control("eval", CLOSE_ALL_CONNECTIONS)
        time.sleep(scene.chance.uniform(0, 2))


def purge_the_queues(scene: Scene) -> None:
    scene.rabbitmq.purge()


def delete_the_queues(scene: Scene) -> None:
    scene.rabbitmq.delete_queues()


def _to_rabbitmq(fault: Callable[[RabbitMQ], AbstractContextManager[None]]) -> Disaster:
    def disaster(scene: Scene) -> None:
        with fault(scene.rabbitmq):
            _last(scene)

    disaster.__name__ = f"rabbitmq {fault.__name__}"
    return disaster


def _to_mongodb(fault: Callable[[Mongod], AbstractContextManager[None]]) -> Disaster:
    def disaster(scene: Scene) -> None:
        with fault(scene.mongod):
            _last(scene)

    disaster.__name__ = f"mongodb {fault.__name__}"
    return disaster


def _to_smtp(fault: Callable[[Inbox], AbstractContextManager[None]]) -> Disaster:
    def disaster(scene: Scene) -> None:
        with fault(scene.inbox):
            _last(scene)

    disaster.__name__ = f"smtp {fault.__name__}"
    return disaster


def _last(scene: Scene) -> None:
    time.sleep(scene.chance.uniform(0.2, LONGEST_SECONDS))


def _some_workers(scene: Scene) -> Workers:
    return scene.chance.choice(scene.workers)


def _try_to_kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has just died of something else
        os.kill(pid, signal.SIGKILL)


DISASTERS: list[Disaster] = [
    kill_a_worker_process,
    kill_a_master,
    kill_all_workers,
    kill_the_service,
    stop_a_worker,
    freeze_a_worker,
    close_all_connections,
    purge_the_queues,
    delete_the_queues,
    *map(_to_rabbitmq, (rabbitmq.down, rabbitmq.frozen, rabbitmq.out_of_memory)),
    *map(
        _to_mongodb,
        (
            mongodb.killed,
            mongodb.frozen,
            mongodb.stepped_down,
            mongodb.hanging_up,
            mongodb.without_disk,
            mongodb.slow,
        ),
    ),
    *map(_to_smtp, (smtp.closed, smtp.busy, smtp.silent)),
    _to_smtp(smtp.replying("DATA", "451 later")),
    _to_smtp(smtp.replying("DATA", "")),
]
