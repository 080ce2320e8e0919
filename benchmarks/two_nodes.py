"""Runs an ablation on a Ray cluster whose nodes share no folder, and kills one of them.

    python benchmarks/two_nodes.py [--folder DIR] [--steps 1500] [--seeds 4]

The same ablation is trained twice: in one process, and on a cluster of this machine. Some of its
runs start from weights that lie in a folder of the driver. The driver's node trains nothing. Each
other node is a mount and pid namespace of its own (Linux, `unshare`), in which an empty file system
covers the driver's folders, so it sees neither recordings nor checkpoints nor these weights. One
node is killed when it has trained for a while, another joins later. The script fails unless the
exit code is 0, every record and weight equals those of the single process, and standard output is
one JSON document.
"""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# In its own namespaces: hide the folder $1 under an empty file system, then run the rest.
_HIDE = 'mount -t tmpfs none "$1" && shift && exec "$@"'
_UNSHARE = (
    *("unshare", "--mount", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"),
    *("sh", "-c"),
)
_START_SECONDS = 60.0


def can_hide() -> bool:
    """Whether this user may hide a folder from a process."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            tried = [*_UNSHARE, _HIDE, "sh", folder, "true"]
            return subprocess.run(tried, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


class Nodes:
    """A Ray cluster on this machine: the driver's node, and others that do not see its folders.

    Args:
        folder: holds caches and logs of nodes; outside of what is hidden.
        n_gpus: GPUs that the driver's node claims to have.
        head_cpus: CPUs of the driver's node.
    """

    def __init__(self, folder: Path, head_cpus: int = 0, n_gpus: int = 0) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._temporary = Path(tempfile.mkdtemp(prefix="rn-", dir="/tmp"))
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_period_ms": "1000",  # a dead node is noticed within seconds
            "RAY_health_check_failure_threshold": "3",
            "RAY_memory_monitor_refresh_ms": "0",
        }
        head = ["--head", f"--port={port}", "--include-dashboard=false"]
        head += [f"--temp-dir={self._temporary}", f"--num-gpus={n_gpus}"]
        self._start([], [*head, f"--num-cpus={head_cpus}"], "head")
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):
            assert time.monotonic() < deadline, "the driver's node did not start"
            time.sleep(0.1)

    def add(self, name: str, hidden: Path, n_cpus: int = 1) -> subprocess.Popen[bytes]:
        """Start a node that does not see the folder `hidden`; it has joined when this returns.

        Ray gives up a start that takes too long, as on a busy machine, so it is tried three times.
        """
        prefix = [*_UNSHARE, _HIDE, "sh", str(hidden)]
        for _ in range(3):
            options = [f"--address={self.address}", f"--num-cpus={n_cpus}"]
            process = self._start(prefix, options, name)
            while process.poll() is None:
                if "Ray runtime started" in (self._folder / f"{name}.log").read_text():
                    return process
                time.sleep(0.1)
        raise RuntimeError((self._folder / f"{name}.log").read_text())

    def cache(self, name: str) -> Path:
        """The cache of a node."""
        return self._folder / f"cache-{name}"

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a node with everything that runs on it."""
        process.send_signal(signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        """End every node."""
        head, *others = self._processes
        for process in others:
            self.kill(process)
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(timeout=15)
        except subprocess.TimeoutExpired:
            head.kill()
            head.wait()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _start(
        self, prefix: Sequence[str], options: Sequence[str], name: str
    ) -> subprocess.Popen[bytes]:
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        ray += ["--disable-usage-stats", f"--object-store-memory={128 * 2**20}"]
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*prefix, *ray],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, "SPEECH_BCI_CACHE": str(self.cache(name))},
            )
        self._processes.append(process)
        return process


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def cluster(folder: Path, head_cpus: int = 0, n_gpus: int = 0) -> Iterator[Nodes]:
    """A cluster that ends with the block; arguments as those of `Nodes`."""
    nodes = Nodes(folder, head_cpus, n_gpus)
    try:
        yield nodes
    finally:
        nodes.end()


def _spec(folder: Path, n_steps: int, n_seeds: int) -> Path:
    base = {
        "data": {"path": "synthetic:tiny", "batch_size": 16, "days_per_batch": 2},
        "model": {"n_units": 64, "n_layers": 2},
        "optim": {"lr_warmup_steps": 20},
        "train": {"n_steps": n_steps, "eval_every_steps": 50, "keep_weights": "best"},
    }
    spec = {
        "name": "two_nodes",
        "question": "Does a cluster without a shared folder give the same numbers?",
        "base": "base.yaml",
        "factors": {
            "noise": {"official": {}, "weak": {"augment.white_noise_std": 0.25}},
            "start": {"scratch": {}, "tuned": {"train.start_from": str(folder / "hidden/start")}},
        },
        "design": "one_factor",
        "seeds": list(range(n_seeds)),
    }
    (folder / "base.yaml").write_text(json.dumps(base))
    path = folder / "two_nodes.yaml"
    path.write_text(json.dumps(spec))
    return path


def _make_start(folder: Path) -> None:
    """Train the weights that runs start from, where the nodes do not see them."""
    program = [sys.executable, "-m", "decoder", "train", str(folder / "base.yaml")]
    places = ["--output", str(folder / "hidden/start"), "--datasets", str(folder / "datasets")]
    words = [*program, *places, "--device", "cpu", "--set", "train.n_steps=100"]
    subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def _command(spec: Path, results: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "orchestrator", "run", str(spec), "--results", str(results)]
    return [*program, "--json", "--device", "cpu", "--threads", "1", "--workers", "2", *options]


def outcome(results: Path) -> dict[str, tuple[Any, ...]]:
    """Run id → status, hash of the history, hash of the weights."""
    found = {}
    for path in sorted(results.glob("runs/*/record.json")):
        record = json.loads(path.read_bytes())
        weights = (path.parent / "weights.safetensors").read_bytes()
        facts = json.loads((path.parent / "weights.json").read_bytes())["facts"]
        digest = hashlib.sha256(weights).hexdigest()
        found[path.parent.name] = (record["status"], record["history_sha256"], digest, facts["per"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keeps everything; default: a temporary one")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        spec = _spec(folder, options.steps, options.seeds)
        alone, away = folder / "alone", folder / "hidden" / "away"
        away.mkdir(parents=True)
        _make_start(folder)
        started = time.monotonic()
        command = _command(spec, alone, "--backend", "local")
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        print(f"one process: {time.monotonic() - started:.0f} s")
        started = time.monotonic()
        with cluster(folder) as nodes:
            _run_with_a_killed_node(nodes, spec, away, started)
        same = outcome(away) == outcome(alone)
        print(f"{len(outcome(alone))} runs; records and weights equal: {same}")
        if not same:
            raise SystemExit("the cluster gave other numbers than one process")


def _run_with_a_killed_node(nodes: Nodes, spec: Path, away: Path, started: float) -> None:
    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", flush=True)

    first, _ = nodes.add("first", away.parent), nodes.add("second", away.parent)
    command = _command(spec, away, "--address", nodes.address)
    with (away.parent.parent / "run.err").open("wb") as errors:
        driver = subprocess.Popen(
            command, cwd=ROOT, env=nodes.environment, stdout=subprocess.PIPE, stderr=errors
        )
        checkpoints = away / "ablations" / "two_nodes" / "checkpoints"
        while driver.poll() is None and len(list(checkpoints.rglob("step-*.json"))) < 2:
            time.sleep(0.2)
        say("two checkpoints have come back; one node is killed")
        nodes.kill(first)
        time.sleep(15.0)
        nodes.add("third", away.parent)
        say("another node joins")
        out, _ = driver.communicate()
    say(f"exit code {driver.returncode}")
    print((away.parent.parent / "run.err").read_text())
    document = json.loads(out)
    assert driver.returncode == 0, driver.returncode
    assert document["n_recorded"] == document["n_runs"], document
    for name in ("first", "second", "third"):
        sent = list(nodes.cache(name).glob("datasets/*/train_features.f32"))
        starts = list(nodes.cache(name).glob("starts/*/weights.safetensors"))
        print(f"{name}: in its cache {len(sent)} recordings, {len(starts)} weights to start from")


if __name__ == "__main__":
    main()
