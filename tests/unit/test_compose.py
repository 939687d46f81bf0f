"""What each container of docker-compose.yml must have."""

import re

import pytest

from devtools.servers.process import PROJECT

TEXT = (PROJECT / "docker-compose.yml").read_text()
SERVERS = TEXT.partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
APP = TEXT.partition("\nservices:\n")[0]
PORTS = re.findall(r"^    ports: (\[.*\])", TEXT, re.MULTILINE)
EXAMPLE = (PROJECT / ".env.example").read_text()
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
BLOCKS = dict(re.findall(r"^  ([a-z]+):\n((?:    .*\n|\n|  #.*\n)+)", SERVERS, re.MULTILINE))


def networks(name: str) -> set[str]:
    if "\n    network_mode: none\n" in BLOCKS[name]:
        return set()
    (listed,) = re.findall(r"^    networks: \[(.*)\]", BLOCKS[name], re.MULTILINE)
    return set(listed.split(", "))


def test_the_containers_are_found() -> None:
    assert BLOCKS.keys() >= {"service", "worker", "rabbitmq", "mongo", "mailpit", "prometheus"}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_container_has_limits(name: str) -> None:
    assert re.search(r"^    <<: \*(container|app)$", BLOCKS[name], re.MULTILINE), "rotates its log"
    for limit in ("mem_limit", "pids_limit"):
        assert re.search(rf"^    {limit}: \S", BLOCKS[name], re.MULTILINE), limit


def test_the_servers_are_in_networks_without_a_way_out() -> None:
    assert networks("mongo") == {"backend", "web"}
    assert "  backend: {internal: true}" in TEXT
    assert "  web: {internal: true}" in TEXT
    assert "ports:" not in BLOCKS["mongo"]


def test_workers_fetch_through_a_network_of_their_own() -> None:
    outside = networks("worker") - {"backend"}
    assert outside
    assert not any(outside & networks(name) for name in BLOCKS if name != "worker")


def test_workers_share_no_network_with_the_service() -> None:
    assert not networks("worker") & networks("service")


@pytest.mark.parametrize("port", re.findall(r'"([^"]*:\d+)"', "".join(PORTS)))
def test_a_port_is_published_on_loopback_unless_a_setting_says_otherwise(port: str) -> None:
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+:\d+|\$\{(HTTP|MANAGEMENT)_ADDRESS:-127\.0\.0\.1\}:\$\{[A-Z_]+:-\d+\}:\d+",
        port,
    )


def test_no_password_is_published() -> None:
    assert not re.search(r"PASSWORD:-[^}]|PASS:|md5light:", TEXT)
    for variable in ("RABBITMQ_PASSWORD", "MONGODB_PASSWORD"):
        assert re.search(rf"^#{variable}=$", EXAMPLE, re.MULTILINE)


@pytest.mark.parametrize("name", ["rabbitmq", "mongo", "service", "worker"])
def test_the_passwords_are_made_first(name: str) -> None:
    """They are made before the servers start, and the servers before their clients."""
    block = BLOCKS[name] + (APP if "<<: *app" in BLOCKS[name] else "")
    first = r"depends_on: (&passwords\n      passwords: {condition|\*passwords\n)|mongo: {condition"
    assert re.search(first, block)
    assert "passwords:/passwords:ro" in block


@pytest.mark.parametrize("name", sorted(BLOCKS.keys() - {"passwords", "prometheus", "grafana"}))
def test_a_server_has_a_health_check(name: str) -> None:
    assert "\n    healthcheck:\n" in BLOCKS[name]


# The volumes that images declare. Compose makes one without a name for each that it does not name.
DECLARED = {
    "rabbitmq": ["/var/lib/rabbitmq"],
    "mongo": ["/data/db", "/data/configdb"],
    "prometheus": ["/prometheus"],
}


def test_no_volume_is_without_a_name() -> None:
    assert "VOLUME" not in DOCKERFILE
    for name, paths in DECLARED.items():
        named = dict(re.findall(r"([a-z-]+):(/[a-z/]+)(?=[\s\"\]])", BLOCKS[name]))
        assert set(paths) <= set(named.values())
        for volume in named:
            assert f"\n  {volume}: {{name: md5-light_{volume}}}\n" in TEXT


def test_images_are_pinned() -> None:
    images = re.findall(r"^    image: (.*)$", SERVERS, re.MULTILINE)
    assert len(images) == 5
    for image in [*images, *re.findall("^FROM (.*)$", DOCKERFILE, re.MULTILINE)]:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*", image)


def test_the_setting_of_every_port_is_in_the_example() -> None:
    for variable in re.findall(r"\$\{([A-Z_]+):-", "".join(PORTS)):
        assert re.search(rf"^#{variable}=", EXAMPLE, re.MULTILINE)
