"""RabbitMQ is down, frozen, or out of memory."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from devtools.servers.rabbitmq import RabbitMQ


@contextmanager
def out_of_memory(rabbitmq: RabbitMQ) -> Iterator[None]:
    """RabbitMQ reads nothing more from whoever publishes."""
    rabbitmq.control("set_vm_memory_high_watermark", "0.0001")
    try:
        yield
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.4")


@contextmanager
def down(rabbitmq: RabbitMQ) -> Iterator[None]:
    rabbitmq.stop()
    try:
        yield
    finally:
        rabbitmq.start()


@contextmanager
def frozen(rabbitmq: RabbitMQ) -> Iterator[None]:
    rabbitmq.process.signal_all(signal.SIGSTOP)
    try:
        yield
    finally:
        rabbitmq.process.signal_all(signal.SIGCONT)
