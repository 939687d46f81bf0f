"""Reads metrics as Prometheus does."""

from http import HTTPStatus

import requests
from prometheus_client.parser import text_string_to_metric_families

from devtools.waiting import wait_for


def scrape(base: str, **headers: str) -> dict[str, float]:
    """Each sample's value, by its name and labels: `name{label="value"}`."""
    response = requests.get(f"{base}/metrics", headers=headers, timeout=10)
    assert response.status_code == HTTPStatus.OK
    return {
        sample.name + ("{" + labels + "}" if labels else ""): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        for labels in [",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))]
    }


def scrape_store(base: str) -> dict[str, float]:
    """Do as `scrape`, and wait for what the store reports. A slow store is left out of a scrape."""

    def scraped() -> dict[str, float] | None:
        samples = scrape(base)
        return samples if "md5_light_tasks_overdue" in samples else None

    samples = wait_for(scraped)
    assert samples is not None
    return samples
