"""A Prometheus server of the tests' own."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from devtools.rules import RULES
from devtools.servers.process import Process, find_program, free_port
from devtools.waiting import wait_for

REPLY_SECONDS = 30.0


class Prometheus:
    """Scrapes the ports of each job every second, and evaluates the alerting rules."""

    def __init__(self, folder: Path, jobs: Mapping[str, Sequence[int]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "prometheus.json"
        every_second = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        scrape_configs = [
            {
                "job_name": job,
                "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
            }
            for job, ports in jobs.items()
        ]
        config.write_text(  # JSON is YAML as well
            json.dumps(
                {
                    "global": {**every_second, "evaluation_interval": "1s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": scrape_configs,
                }
            )
        )
        port = free_port()
        self._base = f"http://127.0.0.1:{port}"
        self.process = Process(
            [
                find_program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            folder,
            os.environ,
        )
        wait_for(self._is_ready)

    def _is_ready(self) -> bool:
        assert self.process.is_running, self.process.output[-4000:]
        try:
            return requests.get(f"{self._base}/-/ready", timeout=REPLY_SECONDS).ok
        except requests.ConnectionError:
            return False

    def query(self, query: str) -> list[float]:
        """Return the value of each series that an instant query finds."""
        result = self._ask("query", query=query)["result"]
        return [float(each["value"][1]) for each in result]

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return each alerting rule as Prometheus reports it, by its name."""
        return {
            rule["name"]: rule for group in self._ask("rules")["groups"] for rule in group["rules"]
        }

    def _ask(self, path: str, **parameters: str) -> dict[str, Any]:
        response = requests.get(
            f"{self._base}/api/v1/{path}", params=parameters, timeout=REPLY_SECONDS
        )
        assert response.ok, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    def stop(self) -> None:
        self.process.stop()
