"""Reads the alerting rules, and the queries of the dashboard."""

import json
import re
from dataclasses import dataclass
from functools import cache

import yaml

from devtools.servers.process import PROJECT

RULES = PROJECT / "monitoring" / "alerts.yml"
DASHBOARD = PROJECT / "monitoring" / "grafana" / "md5-light.json"
# A metric of a query with its conditions, such as `up{job="service"}`.
_SELECTOR = re.compile(r"\b(?:md5_light_\w+|up)\b(?:\{.*?[^\\]\"\})?")
# The names of its samples, after that of a histogram.
_SUFFIX = re.compile(r"_(?:bucket|count|sum)$")


@dataclass(frozen=True, slots=True)
class Rule:
    """An alerting rule. `annotations` may have templates."""

    alert: str
    expr: str
    pending: str  # for how long the expression is true before the alert fires
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def metrics(self) -> set[str]:
        """The names of the metrics that it asks for."""
        return metrics_of(self.expr)


@cache
def read_rules() -> tuple[Rule, ...]:
    """Return all rules, in their order."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return tuple(
        Rule(each["alert"], each["expr"], each["for"], each["labels"], each["annotations"])
        for each in group["rules"]
    )


def read_queries() -> dict[str, str]:
    """Return the queries of the dashboard, by the title of the panel and the letter of each."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel["targets"]
    }


def selectors_of(query: str) -> set[str]:
    """Return the selectors of a query, without ranges and offsets."""
    return set(_SELECTOR.findall(query))


def metrics_of(query: str) -> set[str]:
    """Return the names of the metrics of a query, without the suffixes of histograms."""
    names = {selector.partition("{")[0] for selector in selectors_of(query)}
    return {_SUFFIX.sub("", name) for name in names}
