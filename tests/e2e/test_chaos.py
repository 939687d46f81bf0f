"""A short run of random disasters; `make chaos` makes longer ones."""

from pathlib import Path

import pytest

from devtools.servers.mongod import Mongod
from devtools.servers.rabbitmq import RabbitMQ
from tests.chaos.run import run


@pytest.mark.services
@pytest.mark.timeout(300)
def test_the_ledger_balances(tmp_path: Path, mongod: Mongod, rabbitmq: RabbitMQ) -> None:
    """The fixtures only say whether this machine has the servers."""
    del mongod, rabbitmq
    ledger = run(tmp_path, seed=8, seconds=25)
    assert ledger.problems == [], f"\n{ledger}"
    assert ledger.done > 50
    assert ledger.failed > 5
