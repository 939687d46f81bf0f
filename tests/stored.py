"""Tasks as release 1.0 has stored them, in a SQLite file and in MongoDB, and what it answered."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from bson import json_util
from pymongo import MongoClient

FOLDER = Path(__file__).parent / "documents" / "release-1.0"
HOST = "http://example.com"  # in the URLs of all tasks

# By the name of the state: the task's id, and the status and the body of the answer of /check.
ANSWERS: dict[str, dict[str, Any]] = json.loads((FOLDER / "answers.json").read_text())


def copy_sqlite(path: Path, host: str = HOST) -> None:
    """Copy the SQLite file, with the URLs on another host."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((FOLDER / "tasks.sqlite3").read_bytes())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE tasks SET document = replace(document, ?, ?)", (HOST, host))


def copy_mongodb(url: str, host: str = HOST) -> None:
    """Insert the documents into the database at `url`, with the URLs on another host."""
    documents = json_util.loads((FOLDER / "tasks.json").read_text().replace(HOST, host))
    with MongoClient[dict[str, Any]](url) as client:
        client.get_default_database().tasks.insert_many(documents)


def change_sqlite(path: Path, task_id: str, /, **fields: Any) -> None:
    """Set fields of a stored task, as another version might have written it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, value in fields.items():
            connection.execute(
                "UPDATE tasks SET document = json_set(document, ?, json(?)) WHERE _id = ?",
                (f"$.{name}", json.dumps(value), task_id),
            )


def change_mongodb(url: str, task_id: str, /, **fields: Any) -> None:
    """Set fields of a stored task, as another version might have written it."""
    with MongoClient[dict[str, Any]](url) as client:
        client.get_default_database().tasks.update_one({"_id": task_id}, {"$set": fields})
