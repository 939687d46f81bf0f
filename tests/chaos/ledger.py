"""The books of a run: what was asked for, what became of it, and whether that is right."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise

from tasks.step import Status
from tasks.task import Task
from tests.chaos.batches import BatchLedger
from tests.chaos.origin import FickleOrigin, body_of
from tests.chaos.scene import Scene
from tests.e2e.ledger import all_tasks, message_id

CLOCK_SECONDS = 0.5  # between a 250 and the test's note of it, and the like


@dataclass
class Ledger:
    """What clients were told, and in the end all that is wrong."""

    accepted: dict[str, str] = field(default_factory=dict)  # the path of each task by its id
    refused: int = 0  # with a 503
    unanswered: int = 0  # the service died, or was too late
    disasters: Counter[str] = field(default_factory=Counter)
    done: int = 0
    failed: int = 0
    doubled: int = 0
    batches: BatchLedger = field(default_factory=BatchLedger)
    problems: list[str] = field(default_factory=list)

    def close(self, scene: Scene, origin: FickleOrigin) -> None:
        """Compare all that is to be with all that is."""
        stored = all_tasks(scene.system.store)
        tasks = {task.id: task for task in stored if not (task.batch or task.lane or task.member)}
        self.done = sum(task.status is Status.DONE for task in tasks.values())
        self.failed = sum(task.status is Status.FAILED for task in tasks.values())
        lost = self.accepted.keys() - tasks.keys()
        self.problems += [f"{each} was accepted and is lost" for each in lost]
        if len(tasks) > len(self.accepted) + self.unanswered + self.refused:
            self.problems.append("there are tasks that nobody has submitted")
        for task in tasks.values():
            self.problems += _problems_of(task)
        self.batches.close(scene, origin, (task.id for task in stored if task.batch))
        self.problems += self.batches.problems
        self.problems += self._problems_of_mails(scene, [*tasks, *self.batches.accepted])
        if scene.system.rabbitmq and (waiting := scene.system.rabbitmq.waiting()):
            self.problems.append(f"messages are left: {waiting}")

    def _problems_of_mails(self, scene: Scene, task_ids: Iterable[str]) -> Iterator[str]:
        arrivals: dict[str, list[float]] = {each: [] for each in task_ids}
        for mail, moment in zip(scene.inbox.mails, scene.inbox.arrivals, strict=True):
            arrivals.setdefault(message_id(mail), []).append(moment)
        for task_id, moments in arrivals.items():
            if not moments:
                yield f"{task_id}: no mail"
            for first, second in pairwise(moments):
                self.doubled += 1
                if not any(first - CLOCK_SECONDS < each < second for each in scene.deaths):
                    yield f"{task_id}: two mails, and no worker died between them"
                    yield from _log_of(scene, task_id)

    def __str__(self) -> str:
        submitted = len(self.accepted) + self.refused + self.unanswered
        rows = {
            "submitted": submitted,
            "accepted": len(self.accepted),
            "refused with 503": self.refused,
            "unanswered": self.unanswered,
            "done": self.done,
            "failed": self.failed,
            "batches": len(self.batches.accepted),
            "  their files": sum(map(len, self.batches.accepted.values())),
            "  submitted again": self.batches.repeats,
            "lists given up": len(self.batches.given_up),
            "  taken in": self.batches.taken_in,
            "mails sent twice": self.doubled,
            "disasters": self.disasters.total(),
            **{f"  {name}": count for name, count in sorted(self.disasters.items())},
            "problems": len(self.problems),
        }
        lines = [f"{name:32}{value:>8}" for name, value in rows.items()]
        return "\n".join([*lines, *(f"  {each}" for each in self.problems[:50])])


def _log_of(scene: Scene, task_id: str) -> Iterator[str]:
    """Return what all processes have logged about a task, in the order of time."""
    lines = (line for each in scene.system.processes for line in each.output.splitlines())
    return (f"  {line}" for line in sorted(line for line in lines if task_id in line))


def _problems_of(task: Task) -> Iterator[str]:
    path = "/" + task.url.split("/", 3)[3]
    if not task.is_settled:
        yield f"{task.id} ({path}) is stuck: {task.status}, mail {task.mail_status}"
    elif path.startswith("/missing/"):
        if task.failure is None or task.failure.http_status != HTTPStatus.NOT_FOUND:
            yield f"{task.id} ({path}) is {task.status}: {task.failure}"
    elif task.digest is None:
        yield f"{task.id} ({path}) failed: {task.failure}"
    elif task.digest.md5 != hashlib.md5(body_of(path)).hexdigest():
        yield f"{task.id} ({path}) has a wrong digest"
