"""The steps of a task: one module each, named after the kind of its step."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from tasks.outcome import Outcome
from tasks.step import StepKind
from worker.leases import Claim
from worker.resources import Resources
from worker.steps import compute_md5, run_batch, run_lane, send_email


class StepImplementation(Protocol):
    """Makes attempts at one kind of step, from several threads at once."""

    def attempt(self, claim: Claim) -> Outcome:
        """Make one attempt at a claimed step.

        Raises StoreUnavailableError if the worker stops while the store is unreachable.
        """


STEPS: Mapping[StepKind, Callable[[Resources], StepImplementation]] = MappingProxyType(
    {
        StepKind.COMPUTE_MD5: compute_md5.build,
        StepKind.RUN_BATCH: run_batch.build,
        StepKind.RUN_LANE: run_lane.build,
        StepKind.SEND_EMAIL: send_email.build,
    }
)
