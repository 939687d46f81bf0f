"""MongoDB dies, freezes, steps down, hangs up, writes nothing, and is slow."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from devtools.servers.mongod import Mongod

WRITES = ("insert", "update", "findAndModify")
COMMANDS = ("find", "aggregate", *WRITES)


@contextmanager
def killed(mongod: Mongod) -> Iterator[None]:
    mongod.stop()
    try:
        yield
    finally:
        mongod.start()


@contextmanager
def frozen(mongod: Mongod) -> Iterator[None]:
    mongod.process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        mongod.process.send(signal.SIGCONT)


@contextmanager
def stepped_down(mongod: Mongod) -> Iterator[None]:
    mongod.step_down()
    try:
        yield
    finally:
        mongod.step_up()


@contextmanager
def hanging_up(mongod: Mongod) -> Iterator[None]:
    mongod.fail(*COMMANDS, closeConnection=True)
    try:
        yield
    finally:
        mongod.heal()


@contextmanager
def without_disk(mongod: Mongod) -> Iterator[None]:
    mongod.fail(*WRITES, errorCode=14031)  # OutOfDiskSpace
    try:
        yield
    finally:
        mongod.heal()


@contextmanager
def slow(mongod: Mongod) -> Iterator[None]:
    mongod.fail(*COMMANDS, blockConnection=True, blockTimeMS=100)
    try:
        yield
    finally:
        mongod.heal()
