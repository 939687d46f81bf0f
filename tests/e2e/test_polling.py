"""What a client that waits is told."""

from datetime import datetime

from devtools.servers.deployment import System
from devtools.servers.process import free_port
from devtools.waiting import wait_for


def test_a_task_that_waits_for_its_next_attempt(system: System) -> None:
    system.environ["RETRY_BASE"] = "30s"
    service = system.start()
    url = f"http://127.0.0.1:{free_port()}/"
    task_id = service.submit(url)
    wait_for(lambda: "retry_at" in service.check(task_id).json())

    answer = service.check(task_id)

    assert answer.status_code == 202
    body = answer.json()
    assert {name: body[name] for name in ("status", "url", "attempt")} == {
        "status": "running",
        "url": url,
        "attempt": 1,
    }
    assert body["error"]["code"] == "connect_error"
    assert body["error"]["message"]
    wait = datetime.fromisoformat(body["retry_at"]) - system.store.now()
    assert abs(int(answer.headers["Retry-After"]) - wait.total_seconds()) < 5
    assert 15 < wait.total_seconds() <= 45


def test_next_attempt_reports_the_last_failure(embedded: System) -> None:
    """While it is under way, too."""
    embedded.environ["RETRY_BASE"] = "10ms"
    service = embedded.start()
    task_id = service.submit(f"http://127.0.0.1:{free_port()}/")
    seen = []

    def has_ended() -> bool:
        answer = service.check(task_id)
        seen.append(answer.json())
        return answer.status_code == 424

    wait_for(has_ended)
    assert all("error" in body for body in seen if body.get("attempt", 0) > 1)
    assert seen[-1]["error"]["code"] == "connect_error"
    assert "retry_at" not in seen[-1]
