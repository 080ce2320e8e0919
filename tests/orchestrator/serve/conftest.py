"""A results folder with a bit of everything, and a server that shows it to a client of its own."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from stored_pairs import ignore

from orchestrator.driver.reporting import rebuild_report
from orchestrator.history.reading.store import import_runs
from orchestrator.serve.app import make_app
from orchestrator.serve.guard import Access, access_of
from orchestrator.serve.server import _listen
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan

HOSTILE = '<script>alert("1")</script>\u202egpj&\'"'


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Client:
    """Sends requests as they are given, so that no library makes a hostile path harmless."""

    port: int
    said: list[str] = field(default_factory=list)

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection._validate_path = lambda url: None  # type: ignore[attr-defined]
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=given)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, body)


Serve = Callable[..., Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a results folder on a free port until the test ends."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(results: Results, token: str = "", access: Access | None = None) -> Client:
        listening = _listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        client = Client(port)
        app = make_app(results, access or access_of("127.0.0.1", port, token), client.said.append)
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return client

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def reported(store: Results) -> Results:
    """Two arms of six seeds, one of which collapses, with their report."""
    rebuild_report(store, read_plan(store, "two"), ignore)
    return store


@pytest.fixture
def imported(reported: Results, tmp_path: Path) -> Results:
    """The same, and a group of two imported runs with a hostile name and setting."""
    for name, per in (("good", 0.3), (f"bad{HOSTILE}".replace("/", "_"), 0.5)):
        folder = tmp_path / "elsewhere" / name
        folder.mkdir(parents=True)
        rows = "".join(json.dumps({"step": s, "per": per + 1 / s}) + "\n" for s in (10, 20, 40))
        (folder / "metrics.jsonl").write_text(rows)
        (folder / "config.yaml").write_text(json.dumps({"seed": 3, "note": HOSTILE}))
    import_runs(reported, tmp_path / "elsewhere", "others")
    return reported


def run_ids(results: Results, arm: str) -> list[str]:
    """The runs of an arm of the ablation `two`, by seed."""
    plan = read_plan(results, "two")
    return [run.run_id for run in plan.runs if run.arm_id == arm]


def tree(root: Path) -> dict[str, Any]:
    """Every file below a folder: size and time of change."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}
