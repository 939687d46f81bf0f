"""The private names of pinned libraries on which the project leans.

An upgrade that moves one fails here, in one line, and not somewhere at run time.
"""

import dramatiq.brokers.rabbitmq
import prometheus_client.values
import pytest
import requests
import urllib3
from pika.adapters.blocking_connection import BlockingChannel
from pika.channel import Channel
from sanic import Request
from sanic.http import Http
from sanic.router import Router
from sanic.server import HttpProtocol
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool

NAMES = [
    # fetch: sockets of our own, and a parser of our own for the answers
    (HTTPConnection, "_new_conn"),
    (HTTPSConnection, "_new_conn"),
    (HTTPConnection(""), "_dns_host"),
    (HTTPConnection, "getresponse"),
    (HTTPConnectionPool, "_get_conn"),
    (urllib3.HTTPResponse(), "_original_response"),
    # fetch: the parser that ours extends
    (requests.adapters.HTTPAdapter, "init_poolmanager"),
    # worker: messages that are acknowledged once, and taken only by free threads
    (dramatiq.brokers.rabbitmq, "_RabbitmqConsumer"),
    (BlockingChannel, "_flush_output"),
    (BlockingChannel, "_process_data_events"),
    (Channel, "add_on_return_callback"),
    (Channel, "confirm_delivery"),
    # worker: threads that start when they are needed
    (dramatiq.Worker, "_add_worker"),
    # telemetry: prometheus_client chooses it when it is imported
    (prometheus_client.values, "ValueClass"),
    (prometheus_client.values, "MultiProcessValue"),
    # service: deadlines and limits of connections
    (HttpProtocol, "HTTP_CLASS"),
    (HttpProtocol, "_callback_check_timeouts"),
    (HttpProtocol, "_can_write"),
    (HttpProtocol, "_task"),
    (HttpProtocol, "check_timeouts"),
    (HttpProtocol, "signal"),
    (HttpProtocol, "recv_buffer"),
    (Http, "exception"),
    (Http, "expecting_continue"),
    (Http, "http1_request_header"),
    (Http, "http1_response_header"),
    (Http, "init_for_request"),
    (Http, "keep_alive"),
    (Http, "recv_buffer"),
    (Http, "request_body"),
    (Http, "stage"),
    (Request, "_parsed_url"),
    (Router, "finalize"),
    (Router, "get"),
]


@pytest.mark.parametrize(("owner", "name"), NAMES, ids=[name for _, name in NAMES])
def test_private_name_exists(owner: object, name: str) -> None:
    assert hasattr(owner, name)
