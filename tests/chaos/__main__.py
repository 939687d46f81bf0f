"""`make chaos`: a long run of disasters, its ledger printed."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import run


def main() -> None:
    """Exits with 1 when the ledger has a problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    parser.add_argument("--embedded", action="store_true", help="the service without servers")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}, {options.minutes:g} minutes\n")
    with tempfile.TemporaryDirectory() as folder:
        ledger = run(
            Path(folder),
            seed=options.seed,
            seconds=options.minutes * 60,
            is_distributed=not options.embedded,
            tell=lambda name: sys.stdout.write(f"  {name}\n") and sys.stdout.flush(),
        )
    sys.stdout.write(f"{ledger}\n")
    sys.exit(bool(ledger.problems))


if __name__ == "__main__":
    main()
