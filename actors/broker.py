"""Makes the broker; nothing else knows whether it is RabbitMQ or in-process."""

import logging
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dramatiq import Broker, Middleware
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker

from settings import Settings

# So that a server which is gone is noticed within seconds; the URL's own parameters go first.
CONNECTION_PARAMETERS = {
    "heartbeat": "10",
    "blocked_connection_timeout": "10",
    "connection_attempts": "1",
    "socket_timeout": "5",
    "stack_timeout": "10",
}


# One line from us says that the server is gone; pika writes twelve, and a trace.
logging.getLogger("pika").setLevel(logging.CRITICAL)


def make_broker(settings: Settings, middleware: Sequence[Middleware] = ()) -> Broker:
    """A broker that retries and delays nothing: that is the sweeper's.

    It connects when it is first used. RabbitMQ confirms each message, or `enqueue` raises.
    """
    if settings.rabbitmq_url is None:
        return StubBroker(middleware=list(middleware))
    return RabbitmqBroker(
        url=_with_defaults(settings.rabbitmq_url),
        confirm_delivery=True,
        middleware=list(middleware),
    )


def ping(broker: Broker) -> None:
    """Talk to the broker over this thread's connection, which keeps it alive.

    Raises whatever pika does when the broker is out of reach.
    """
    if isinstance(broker, RabbitmqBroker):
        try:
            broker.connection.process_data_events(time_limit=0)
        except Exception:
            del broker.connection
            raise


def _with_defaults(url: str) -> str:
    parts = urlsplit(url)
    query = {**CONNECTION_PARAMETERS, **dict(parse_qsl(parts.query))}
    return urlunsplit(parts._replace(query=urlencode(query)))
