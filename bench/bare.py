"""The rival: the least that Dramatiq, requests and MongoDB can do. `dramatiq bench.bare`.

Nothing is checked, limited, repaired or retried here beyond what the libraries do by themselves.
"""

import hashlib
import os
import threading
from datetime import UTC, datetime
from typing import Any

import dramatiq
import pymongo
import requests
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pymongo.write_concern import WriteConcern

QUEUE = "bare"

dramatiq.set_broker(RabbitmqBroker(url=os.environ["RABBITMQ_URL"]))
_client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(os.environ["MONGODB_URL"])
_tasks = _client.get_default_database()["tasks"]
if "BARE_DURABLE" in os.environ:
    _tasks = _tasks.with_options(write_concern=WriteConcern(w="majority", j=True))
_local = threading.local()


def _get(url: str) -> requests.Response:
    if "BARE_SESSION" not in os.environ:
        return requests.get(url, timeout=30)
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    response: requests.Response = _local.session.get(url, timeout=30)
    return response


@dramatiq.actor(queue_name=QUEUE)
def bare(task_id: str) -> None:
    task = _tasks.find_one_and_update(
        {"_id": task_id, "status": "queued"}, {"$set": {"status": "running"}}
    )
    if task is None:
        return
    response = _get(task["url"])
    response.raise_for_status()
    md5 = hashlib.md5(response.content, usedforsecurity=False).hexdigest()
    done = {"status": "done", "md5": md5, "finished_at": datetime.now(UTC)}
    _tasks.update_one({"_id": task_id}, {"$set": done})
