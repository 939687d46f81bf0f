"""What the documentation tells users to type."""

import hashlib
import re
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.process import PROJECT
from devtools.servers.system import Service

Serve = Callable[[Mapping[str, bytes]], Origin]

FILES = {"/hello.txt": b"hello\n", "/empty": b""}


def script_in(document: str) -> str:
    """The script of a document whose last line shows the failures."""
    blocks = re.findall(r"```sh\n(.*?)```", (PROJECT / document).read_text(), re.DOTALL)
    (script,) = (block for block in blocks if block.endswith("grep '^# failed' MD5SUMS\n"))
    return str(script)


def run_job(
    curl: str, service: Service, folder: Path, changes: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the script of the README, with changes, in a folder with a list."""
    script = script_in("README.md")
    assert script == script_in("docs/batches.md")
    for part, changed in {"http://localhost:8000": service.base, **(changes or {})}.items():
        script = script.replace(part, changed)
    return subprocess.run(
        ["/bin/sh", "-c", script.replace("curl ", f"{curl} ")],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_job_of_a_list_that_is_refused_ends_with_an_error(
    embedded: System, curl: str, tmp_path: Path
) -> None:
    (tmp_path / "urls.txt").write_text("nope\n")
    job = run_job(curl, embedded.start_service(), tmp_path)
    assert (job.returncode, job.stdout) == (1, "")
    assert "error: 400" in job.stderr
    assert not (tmp_path / "MD5SUMS").exists()


def test_the_job_of_a_list_whose_results_are_gone_ends_with_an_error(
    embedded: System, curl: str, tmp_path: Path
) -> None:
    (tmp_path / "urls.txt").write_text("http://127.0.0.1:1025/\n")
    job = run_job(
        curl, embedded.start_service(), tmp_path, {"id=$id": f"id={uuid.uuid4()}", "86400": "1"}
    )
    assert (job.returncode, job.stdout) == (1, "")
    assert job.stderr.startswith("no results of ")
    assert not (tmp_path / "MD5SUMS").exists()


@pytest.mark.parametrize("missing", [["/missing"], []], ids=["a failure", "no failure"])
def test_the_whole_job_of_a_list(
    missing: list[str], embedded: System, serve: Serve, curl: str, tmp_path: Path
) -> None:
    service, origin = embedded.start(), serve(FILES)
    host = origin.base.removeprefix("http://")
    urls = [f"{origin.base}{path}" for path in [*FILES, *missing]]
    (tmp_path / "urls.txt").write_text("\n".join(urls))

    job = run_job(curl, service, tmp_path)

    failures = "".join(f"# failed: http_status 404 {origin.base}{path}\n" for path in missing)
    assert (job.returncode, job.stdout, job.stderr) == (len(missing), failures, "")
    sums = [f"{hashlib.md5(body).hexdigest()}  {host}{path}\n" for path, body in FILES.items()]
    assert (tmp_path / "MD5SUMS").read_text() == "".join(sums) + failures
