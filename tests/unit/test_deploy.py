"""Whether the files of deploy/, and what docs/deploy.md does with them, fit the code."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools.servers.process import PROJECT, find_program
from settings import VERSION, Settings
from tasks.step import StepKind
from worker import health

DEPLOY = PROJECT / "deploy"
DOC = (PROJECT / "docs/deploy.md").read_text()
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
SETTINGS = {each.name.upper() for each in fields(Settings)}
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
MANIFESTS = sorted(DEPLOY.glob("kubernetes/*.yaml"))
MOST_EXPOSURE = 12  # tenths, in the words of systemd-analyze "OK"; that of a usual unit is 96

Manifest = dict[str, Any]


def directives(unit: Path) -> dict[str, list[str]]:
    """Return the values of each directive of a unit."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def manifests(kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind by their names."""
    loaded = (each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text()))
    return {each["metadata"]["name"]: each for each in loaded if each["kind"] == kind}


def pods() -> Iterator[tuple[Manifest, Manifest]]:
    """Yield the pod of each deployment, and its container."""
    for each in manifests("Deployment").values():
        spec = each["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        yield spec, container


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def runnable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of a unit whose program is on this machine."""
    text = request.param.read_text()
    copy: Path = tmp_path / request.param.name
    copy.write_text(text.replace("/opt/md5-light/current/.venv/bin/python", sys.executable))
    return copy


def test_systemd_accepts_the_units(runnable: Path) -> None:
    command = [find_program("systemd-analyze"), "verify", "--man=no", str(runnable)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if runnable.name in line] == []


def test_units_are_exposed_as_little_as_they_can_be(runnable: Path) -> None:
    analyze = find_program("systemd-analyze")
    version = subprocess.run([analyze, "--version"], check=True, capture_output=True, text=True)
    if int(version.stdout.split()[1]) < 250:
        pytest.skip("systemd-analyze reads no unit files before systemd 250")
    options = ["--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE}"]
    command = [analyze, "security", *options, str(runnable)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_units_differ_in_what_they_run_only() -> None:
    own = {"Description", "Environment", "EnvironmentFile", "ExecStart", "RestrictAddressFamilies"}
    first, *others = (
        {name: value for name, value in directives(unit).items() if name not in own}
        for unit in UNITS
    )
    assert others
    assert all(other == first for other in others)


def test_only_the_service_opens_local_sockets() -> None:
    families = {unit.stem: directives(unit)["RestrictAddressFamilies"] for unit in UNITS}
    assert families == {
        "md5-light": ["AF_INET AF_INET6 AF_UNIX"],
        "md5-light-worker": ["AF_INET AF_INET6"],
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_workers_stop_before_systemd_kills_them(unit: Path) -> None:
    found = directives(unit)
    (command,), (limit,) = found["ExecStart"], found["TimeoutStopSec"]
    assert found["KillMode"] == ["mixed"], "a second SIGTERM makes a worker exit at once"
    for millis in re.findall(r"--worker-shutdown-timeout (\d+)", command):
        assert int(millis) / 1000 < seconds(limit)


def test_files_name_settings_that_exist() -> None:
    units = [text for unit in UNITS for text in directives(unit)["Environment"]]
    named = set(re.findall(r"(\w+)=", " ".join(units))) - {"WORKER_PROCESSES"}
    environment = (DEPLOY / "systemd/settings.env").read_text()
    named |= set(re.findall(r"^#?([A-Z_]+)=", environment, re.MULTILINE))
    for each in manifests("ConfigMap").values():
        named |= each["data"].keys()
    named |= manifests("Secret")["md5-light"]["stringData"].keys()
    assert len(named) > 8
    assert named <= SETTINGS


def test_example_of_the_environment_file_is_valid() -> None:
    environment = (DEPLOY / "systemd/settings.env").read_text()
    lines = re.findall(r"^#([A-Z_]+)=(.*)$", environment, re.MULTILINE)
    assert Settings.from_env(dict(lines)).proxies_count == 1


def test_example_of_the_manifests_is_valid() -> None:
    environ = manifests("ConfigMap")["md5-light"]["data"]
    environ |= manifests("Secret")["md5-light"]["stringData"]
    settings = Settings.from_env(environ)
    assert settings.rabbitmq_url
    assert settings.mongodb_url
    assert settings.smtp_url, "pods keep no mails"


def test_manifests_have_the_schema_of_kubernetes() -> None:
    validate = Path(sys.executable).with_name("kubernetes-validate")
    command = [str(validate), "--strict", *map(str, MANIFESTS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    unknown = re.findall(r"schema for kind (\w+)", done.stdout + done.stderr)
    assert set(unknown) == {"ScaledObject", "TriggerAuthentication"}, "those are KEDA's"


def test_selectors_match_pods() -> None:
    deployments = manifests("Deployment")
    labels = {
        name: each["spec"]["template"]["metadata"]["labels"] for name, each in deployments.items()
    }
    assert labels["md5-light"] != labels["md5-light-worker"]
    for name, each in deployments.items():
        assert each["spec"]["selector"]["matchLabels"] == labels[name]
        budget = manifests("PodDisruptionBudget")[name]["spec"]
        assert budget["selector"]["matchLabels"] == labels[name]
        policy = manifests("NetworkPolicy")[name]["spec"]
        assert policy["podSelector"]["matchLabels"] == labels[name]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert manifests("Service")["md5-light"]["spec"]["selector"] == labels["md5-light"]


def test_pods_have_no_rights() -> None:
    (uid,) = re.findall(r"useradd --uid (\d+)", DOCKERFILE)
    for pod, container in pods():
        assert pod["securityContext"]["runAsUser"] == int(uid)
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {each["mountPath"] for each in container["volumeMounts"]} == {"/tmp", "/data"}
        assert container["resources"]["limits"]["memory"]


def test_pods_run_this_version_and_are_probed() -> None:
    port = int(manifests("ConfigMap")["md5-light"]["data"]["METRICS_PORT"])
    (served,) = re.findall(r"^EXPOSE (\d+)", DOCKERFILE, re.MULTILINE)
    paths = set()
    for pod, container in pods():
        assert container["image"].endswith(f":{VERSION}")
        assert {"containerPort": port, "name": "metrics"} in container["ports"]
        assert {"livenessProbe", "startupProbe"} <= container.keys()
        probes = [container.get(f"{each}Probe", {}) for each in ("liveness", "readiness")]
        paths |= {each["httpGet"]["path"] for each in probes if "httpGet" in each}
        for millis in re.findall(r"shutdown-timeout (\d+)", " ".join(container.get("command", ()))):
            assert int(millis) / 1000 < pod["terminationGracePeriodSeconds"]
    assert {"containerPort": int(served), "name": "http"} in next(pods())[1]["ports"]
    assert paths == {"/health/live", "/health/ready"}


def test_workers_are_probed_by_their_health_command() -> None:
    probes = [
        container[each]["exec"]["command"]
        for _, container in pods()
        for each in ("startupProbe", "livenessProbe")
        if "exec" in container[each]
    ]
    assert probes == [["python", "-m", health.__name__]] * 2


def test_workers_are_scaled_by_the_queues_of_downloads() -> None:
    spec = manifests("ScaledObject")["md5-light-worker"]["spec"]
    assert spec["scaleTargetRef"]["name"] in manifests("Deployment")
    assert "replicas" not in manifests("Deployment")["md5-light-worker"]["spec"]
    scaled = {each["metadata"]["queueName"]: each for each in spec["triggers"]}
    assert scaled.keys() == {StepKind.COMPUTE_MD5.value, StepKind.RUN_LANE.value}
    (command,) = (each["command"] for _, each in pods() if "command" in each)
    threads = command[command.index("-t") + 1]
    for each in scaled.values():
        assert each["metadata"]["value"] == threads
        assert each["metadata"]["protocol"] == "http", "AMQP does not count what is in progress"
        authentication = manifests("TriggerAuthentication")[each["authenticationRef"]["name"]]
        (target,) = authentication["spec"]["secretTargetRef"]
        assert target["key"] in manifests("Secret")[target["name"]]["stringData"]


def test_workers_reach_no_private_network_except_the_servers() -> None:
    rules = manifests("NetworkPolicy")["md5-light-worker"]["spec"]["egress"]
    blocks = [peer["ipBlock"] for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    assert {block["cidr"] for block in blocks} == {"0.0.0.0/0", "2000::/3"}
    excepted = [IPv4Network(each) for block in blocks for each in block.get("except", ())]
    for private in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.169.254/32"):
        assert any(IPv4Network(private).subnet_of(each) for each in excepted), private
    assert any("ports" not in rule for rule in rules), "a URL may have any port"


def test_text_uses_all_files_and_only_those() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", DOC))
    assert {name for name in named if not (PROJECT / name).exists()} == set()
    files = {path for path in DEPLOY.rglob("*") if path.is_file()}
    assert {path for path in files if not any(_covers(name, path) for name in named)} == set()


def _covers(name: str, path: Path) -> bool:
    return path == PROJECT / name or path.parent == PROJECT / name


def test_text_installs_what_the_image_contains() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    (listed,) = re.findall(r"cp -r (.*) requirements\.txt \$release", DOC)
    assert set(listed.split()) == copied
    assert f"release=/opt/md5-light/{VERSION}\n" in DOC


def test_text_names_settings_that_exist() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=[^`]*)?`", DOC))
    assert len(named) > 5
    assert named <= SETTINGS | {"WORKER_PROCESSES"}
