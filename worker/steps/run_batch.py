"""The step of a batch: it looks how many members have ended, and sleeps again."""

import logging
import threading
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from tasks.batch import NOTHING_ENDED, Batch, Tally
from tasks.failure import FailureCode
from tasks.lanes import new_lanes
from tasks.outcome import Outcome, Succeeded, Unfinished
from tasks.stores.contract import TaskStore
from tasks.stores.paging import in_pages
from worker.leases import Claim
from worker.resources import Resources
from worker.retrying import until_available

# A look costs time in proportion to the members, so large batches are looked at less often. Each
# batch is looked at about `LOOKS` times in the time that it is expected to take. The duration of
# a young batch is hard to estimate, so a pause is at most an eighth of its age, unless that is
# shorter than the shortest pause.
SHORTEST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=1)
MEMBERS_PER_SECOND = 1000
LOOKS = 100
AGE_DIVISOR = 8
PAGE = 500  # tasks read or inserted at once
# A batch with a mail expires later than without, so its members have to stay for longer.
MAIL_TIME = timedelta(days=3)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunBatch:
    """What a look needs: the same for every batch of a worker."""

    store: TaskStore
    retention: timedelta
    per_host: int  # BATCH_PER_HOST
    stopping: threading.Event

    def attempt(self, claim: Claim) -> Outcome:
        """Look once."""
        batch, members = claim.task.batch, self.store.members
        assert batch is not None
        if batch.tally == NOTHING_ENDED:  # the service may have been killed before it did this
            until_available(lambda: members.activate(batch.group), self.stopping)
        tally = until_available(lambda: members.tally(batch.group), self.stopping)
        now = until_available(self.store.now, self.stopping)
        if tally.ended < batch.total and self._are_missing(batch, tally):
            missing = batch.total - tally.ended
            _log.error(
                "%d URLs of a batch are lost: the service was killed while it stored them", missing
            )
            tally = replace(tally, failed=tally.failed + missing)
        if tally.ended < batch.total:
            pause = pause_after(tally, batch.total, now - claim.task.submitted_at)
            is_active = until_available(lambda: members.is_running(batch.group), self.stopping)
            if not is_active and tally == batch.tally:
                self._replace_lanes(claim, batch)
            return Unfinished(pause, tally, is_active)
        # Otherwise mails to strangers could be triggered without any server to download from.
        has_mail = claim.task.email is not None and (
            tally.done > 0
            or not until_available(lambda: self._are_all_refused(batch), self.stopping)
        )
        kept = self.retention + (MAIL_TIME if has_mail else timedelta(0))
        until_available(lambda: members.expire(batch.group, now + kept), self.stopping)
        _log.info("batch done, %d of %d failed", tally.failed, batch.total)
        return Succeeded(tally=tally, allow_deliveries=has_mail)

    def _are_all_refused(self, batch: Batch) -> bool:
        """Return whether each member has failed at a blocked address in its first attempt.

        That also holds if no member is left. The client of such a batch had no answer.
        """
        read = partial(self.store.members.pages, batch.group, "position", PAGE)
        return all(
            each.failure is not None
            and each.failure.code is FailureCode.BLOCKED_ADDRESS
            and each.attempt <= 1
            for page in in_pages(read, "position")
            for each in page
        )

    def _are_missing(self, batch: Batch, tally: Tally) -> bool:
        """Return whether nothing is left to do although members are missing.

        They expire if the service is killed between the insertion of a batch and the activation of
        its members, and no worker looks at the batch for a day. Its client had no answer.
        """
        if tally != batch.tally:
            return False
        members = self.store.members
        count = until_available(lambda: members.count(batch.group), self.stopping)
        if count == batch.total or count > tally.ended:
            return False
        # A member that ends during the count may be in none of its parts.
        if until_available(lambda: members.is_unfinished(batch.group), self.stopping):
            return False
        return tally == until_available(lambda: members.tally(batch.group), self.stopping)

    def _replace_lanes(self, claim: Claim, batch: Batch) -> None:
        """Insert new lanes if members wait and no lane is left.

        Lanes expire like members if they are not activated for a day.
        """
        has_lane = partial(self.store.members.has_lane, batch.group)
        if until_available(has_lane, self.stopping):
            return
        waiting = until_available(lambda: self._count_waiting(batch), self.stopping)
        if not waiting:
            return
        task, now = claim.task, until_available(self.store.now, self.stopping)
        lanes = new_lanes(task, waiting, self.per_host, now, generation=task.version, wake_at=now)
        for first in range(0, len(lanes), PAGE):
            insert = partial(self.store.insert_all, lanes[first : first + PAGE])
            until_available(insert, self.stopping)
        _log.warning("%d lanes of a batch were missing, and are replaced", len(lanes))

    def _count_waiting(self, batch: Batch) -> Counter[str]:
        """Return how many members of each host have not ended."""
        read = partial(self.store.members.pages, batch.group, "position", PAGE)
        return Counter(
            each.member.host
            for page in in_pages(read, "position")
            for each in page
            if each.member and each.finished_at is None
        )


def pause_after(tally: Tally, total: int, age: timedelta) -> timedelta:
    """Return how long to wait until the next look at a batch of that size and age."""
    expected = age * total / max(tally.ended, 1)
    shortest = max(SHORTEST_PAUSE, timedelta(seconds=total / MEMBERS_PER_SECOND))
    return min(max(min(expected / LOOKS, age / AGE_DIVISOR), shortest), LONGEST_PAUSE)


def build(resources: Resources) -> RunBatch:
    """Return the step of this worker."""
    settings = resources.settings
    retention = timedelta(seconds=settings.retention)
    return RunBatch(resources.store, retention, settings.batch_per_host, resources.stopping)
