"""Each alerting rule fires when it should, and only then; promtool evaluates the rules."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from devtools.rules import RULES, Rule, metrics_of, read_queries, read_rules
from devtools.servers.process import PROJECT, find_program
from devtools.texts import metric_rows
from tests.alerting.cases import CASES, Case


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": case.every,
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": name, "values": values} for name, values in case.series.items()
                ],
                "alert_rule_test": [
                    {
                        "eval_time": f"{case.at}m",
                        "alertname": rule.alert,
                        "exp_alerts": expected(rule.alert, case),
                    }
                    for rule in read_rules()
                ],
            }
        ],
    }
    (tmp_path / "tests.json").write_text(json.dumps(tests))  # which is YAML as well
    promtool("test", "rules", str(tmp_path / "tests.json"))


def expected(alert: str, case: Case) -> list[dict[str, Mapping[str, str]]]:
    """Return the alerts of a rule that fire in a case, as promtool wants them."""
    if alert not in case.fires:
        return []
    (rule,) = (rule for rule in read_rules() if rule.alert == alert)
    # Other alerts of the case have no labels of their own.
    has_labels = "$labels" in rule.annotations["summary"] or rule.expr.startswith(
        ("max by", "sum by")
    )
    labels = case.labels if has_labels else {}
    texts = {"value": case.value, **{f"labels.{name}": text for name, text in labels.items()}}
    annotations = {
        name: re.sub(r"\{\{ \$([\w.]+).*?\}\}", lambda match: texts[match[1]], text)
        for name, text in rule.annotations.items()
    }
    return [{"exp_labels": {**rule.labels, **labels}, "exp_annotations": annotations}]


def promtool(*arguments: str) -> str:
    command = [find_program("promtool"), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_configuration_are_valid() -> None:
    assert f"{len(read_rules())} rules found" in promtool("check", "rules", str(RULES))
    promtool("check", "config", "monitoring/prometheus.yml")


def test_compose_mounts_the_configuration_and_its_rules() -> None:
    compose = (PROJECT / "docker-compose.yml").read_text()
    config = yaml.safe_load((PROJECT / "monitoring" / "prometheus.yml").read_text())
    for name in ("prometheus.yml", *config["rule_files"]):
        assert f"- ./monitoring/{name}:/etc/prometheus/{name}:ro\n" in compose


def test_each_rule_fires_in_a_case() -> None:
    assert {alert for case in CASES.values() for alert in case.fires} == {
        rule.alert for rule in read_rules()
    }


def test_each_rule_is_complete() -> None:
    assert len({rule.alert for rule in read_rules()}) == len(read_rules())
    for rule in read_rules():
        assert rule.pending, rule
        assert rule.labels.keys() == {"severity"}
        assert rule.labels["severity"] in ("critical", "warning")
        assert rule.annotations.keys() == {"summary", "runbook"}


def test_rules_and_panels_ask_for_all_metrics_and_no_others() -> None:
    names = {row.name for row in metric_rows()}
    shown = {name for query in read_queries().values() for name in metrics_of(query)}
    assert shown == {*names, "up"}
    assert {name for rule in read_rules() for name in rule.metrics} <= shown


@pytest.mark.parametrize("rule", read_rules(), ids=lambda rule: rule.alert)
def test_each_runbook_is_a_paragraph(rule: Rule) -> None:
    name, _, anchor = rule.annotations["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)\n\n(?=\w|`)", (PROJECT / name).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    assert anchor == rule.alert.lower()
