"""A short run of random disasters; `make chaos` makes longer ones."""

from pathlib import Path

import pytest

from devtools.servers.mongod import Mongod
from devtools.servers.rabbitmq import RabbitMQ
from tests.chaos.ledger import Ledger
from tests.chaos.run import run

pytestmark = pytest.mark.timeout(300)


@pytest.mark.services
def test_the_ledger_balances(tmp_path: Path, mongod: Mongod, rabbitmq: RabbitMQ) -> None:
    """The fixtures only say whether this machine has the servers."""
    del mongod, rabbitmq
    assert_balanced(run(tmp_path, seed=31, seconds=25, is_distributed=True))


def test_the_ledger_of_the_embedded_service_balances(tmp_path: Path) -> None:
    assert_balanced(run(tmp_path, seed=31, seconds=15, is_distributed=False))


def assert_balanced(ledger: Ledger) -> None:
    assert ledger.problems == [], f"\n{ledger}"
    assert ledger.done > 50
    assert ledger.failed > 5
    assert len(ledger.batches.accepted) > 2
