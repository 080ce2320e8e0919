"""Measures what a thousand requests to `serve` cost a sweep that trains and writes meanwhile.

    OMP_NUM_THREADS=1 python benchmarks/serve_beside_training.py [--rounds 4] [--requests 1000]

Each round trains the same small ablation twice, on fresh results folders and in alternating order:
alone, and beside a server of that folder that a client asks for pages, runs and files, spread over
the training. What is not there yet gives a 404. Printed are the processor time of the process that
trains (which does not count the time that others take), its ratio with a 95 % interval over the
rounds, and the answers: how many, of which status, and how long they took.
"""

import argparse
import http.client
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from scipy.special import stdtrit

ROOT = Path(__file__).parents[1]
SPEC = {
    "name": "served",
    "question": "What do pages cost a sweep?",
    "base": str(ROOT / "ablations" / "base" / "t15_small.yaml"),
    "set": {"train.n_steps": 100, "train.eval_every_steps": 20},
    "factors": {"noise": {"official": {}, "weak": {"augment.white_noise_std": 0.25}}},
    "seeds": [0, 1, 2],
    "hypotheses": {
        "weak_hurts": {
            "claim": "Weak noise raises PER.",
            "contrast": {"factor": "noise", "from": "official", "to": "weak"},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.05,
        }
    },
}
PAUSE_SECONDS = 0.02  # between requests, so that a thousand take as long as the sweep
FILES = ("report.html", "runs.csv", "plan.json")


@dataclass
class Asked:
    """The answers to the requests: statuses, and seconds of each."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    n_broken: int = 0


def start_server(results: Path) -> tuple[subprocess.Popen[str], int]:
    """A server of a results folder, and its port."""
    command = [sys.executable, "-m", "orchestrator", "serve", str(results), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return server, int(found[1])
    raise SystemExit("the server did not start")


def ask(port: int, results: Path, n_requests: int, asked: Asked) -> None:
    """Send requests one after the other for whatever there is at that moment."""
    fixed = ["/", "/runs", "/ablations/served", "/style.css"]
    for number in range(n_requests):
        run_ids = [path.name for path in (results / "runs").glob("[0-9a-f]*")]
        paths = fixed + [f"/files/ablations/served/{name}" for name in FILES]
        for run_id in run_ids:
            paths += [f"/run/{run_id}", f"/files/runs/{run_id}/history.csv"]
        if len(run_ids) > 1:
            paths.append(f"/compare?run={run_ids[0]}&run={run_ids[-1]}")
        started = time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", paths[number % len(paths)])
            answer = connection.getresponse()
            answer.read()
            connection.close()
            asked.statuses[answer.status] += 1
        except (OSError, http.client.HTTPException):
            asked.n_broken += 1
        asked.seconds.append(time.monotonic() - started)
        time.sleep(PAUSE_SECONDS)


def train(folder: Path, n_requests: int, asked: Asked) -> tuple[float, float]:
    """Processor and wall seconds of a sweep; with requests, beside a server that answers them."""
    spec, results = folder / "served.json.yaml", folder / "results"
    spec.write_text(json.dumps(SPEC))
    (results / "ablations").mkdir(parents=True)
    server, client = None, None
    if n_requests:
        server, port = start_server(results)
        client = threading.Thread(target=ask, args=(port, results, n_requests, asked))
    started = time.monotonic()
    command = [sys.executable, "-m", "orchestrator", "run", str(spec), "--results", str(results)]
    log = folder / "log"
    with log.open("w") as out:
        trained = subprocess.Popen(
            [*command, "--backend", "local"], stdout=out, stderr=out, cwd=ROOT
        )
        if client is not None:
            client.start()
        _, status, usage = os.wait4(trained.pid, 0)
    wall = time.monotonic() - started
    if client is not None and server is not None:
        client.join()
        server.terminate()
        server.wait(30)
    if status:
        raise SystemExit(f"the sweep failed:\n{log.read_text()[-2000:]}")
    return usage.ru_utime + usage.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=1000)
    arguments = parser.parse_args()
    asked, ratios = Asked(), []
    for number in range(arguments.rounds):
        seconds = {}
        for is_beside in (False, True) if number % 2 else (True, False):
            with tempfile.TemporaryDirectory() as folder:
                n_requests = arguments.requests if is_beside else 0
                seconds[is_beside] = train(Path(folder), n_requests, asked)
        ratios.append(seconds[True][0] / seconds[False][0])
        print(
            f"round {number + 1}: alone {seconds[False][0]:.1f} s of processor time "
            f"({seconds[False][1]:.0f} s), beside {seconds[True][0]:.1f} s "
            f"({seconds[True][1]:.0f} s), ratio {ratios[-1]:.3f}",
            flush=True,
        )
    mean, n = statistics.mean(ratios), len(ratios)
    half = 0.0
    if n > 1:
        half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(ratios) / math.sqrt(n)
    print(f"ratio {mean:.3f}, 95 % interval {mean - half:.3f} to {mean + half:.3f}")
    asked.seconds.sort()
    print(
        f"{len(asked.seconds):,} requests: {asked.n_broken} broken, statuses "
        f"{dict(asked.statuses)}; median {1000 * statistics.median(asked.seconds):.0f} ms, 99th "
        f"percentile {1000 * asked.seconds[int(0.99 * len(asked.seconds))]:.0f} ms"
    )


if __name__ == "__main__":
    main()
