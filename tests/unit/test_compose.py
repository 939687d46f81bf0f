"""What each container of docker-compose.yml must have."""

import re

import pytest

from devtools.servers.process import PROJECT

TEXT = (PROJECT / "docker-compose.yml").read_text()
SERVERS = TEXT.partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
BLOCKS = dict(re.findall(r"^  ([a-z]+):\n((?:    .*\n|\n|  #.*\n)+)", SERVERS, re.MULTILINE))


def networks(name: str) -> set[str]:
    (listed,) = re.findall(r"^    networks: \[(.*)\]", BLOCKS[name], re.MULTILINE)
    return set(listed.split(", "))


def test_the_containers_are_found() -> None:
    assert BLOCKS.keys() >= {"service", "worker", "rabbitmq", "mongo", "mailpit", "prometheus"}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_container_has_limits(name: str) -> None:
    assert re.search(r"^    <<: \*(container|app)$", BLOCKS[name], re.MULTILINE), "rotates its log"
    for limit in ("mem_limit", "pids_limit"):
        assert re.search(rf"^    {limit}: \S", BLOCKS[name], re.MULTILINE), limit


def test_the_store_is_in_no_network_with_a_way_out() -> None:
    assert networks("mongo") == {"backend"}
    assert "  backend: {internal: true}" in TEXT
    assert "ports:" not in BLOCKS["mongo"]


def test_workers_fetch_through_a_network_without_servers() -> None:
    outside = networks("worker") - {"backend"}
    assert outside
    assert not any(outside & networks(name) for name in BLOCKS if name != "worker")


def test_servers_ask_for_a_password() -> None:
    for variable in ("RABBITMQ_PASSWORD", "MONGODB_PASSWORD"):
        assert TEXT.count(f"${{{variable}:-") == 2, "for the server and for its clients"
        assert re.search(rf"^#{variable}=", (PROJECT / ".env.example").read_text(), re.MULTILINE)
