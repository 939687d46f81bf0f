"""Nobody else on the machine reads what the service writes."""

import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.waiting import wait_for


def test_files_in_an_open_folder_are_private(
    tmp_path: Path, serve: Callable[[Mapping[str, bytes]], Origin]
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    origin = serve({"/file": b"x"})
    system = System(tmp_path, {})
    try:
        service = system.start_service()
        task_id = service.submit(f"{origin.base}/file", email="user@example.com")
        wait_for((data / "mail" / f"{task_id}.eml").exists)
        modes = {
            str(path.relative_to(data)): stat.S_IMODE(path.stat().st_mode)
            for path in data.rglob("*")
        }
    finally:
        system.close()
    files = {f"tasks.sqlite3{end}" for end in ("", "-wal", "-shm")} | {f"mail/{task_id}.eml"}
    assert modes == {**dict.fromkeys(files, 0o600), "mail": 0o700}
