"""A cluster whose nodes share no folder: one is killed, one joins late, and no number changes."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from decoder.owners import this_process
from orchestrator.execute.backends.ray_nodes import clear_markers, worker_log

ROOT = Path(__file__).parents[4]
N_STEPS = 60
# Trains fake packs of argv[3] steps on the cluster argv[1], with results in argv[2]: first three
# that only nodes without its folders have CPUs for, then four that share the GPUs of its own node.
# Each step of a pack hashes the one before, so that a wrong start shows. It prints one document.
DRIVER = """
import dataclasses, hashlib, json, os, sys, time
from pathlib import Path
from decoder.atomic import write_atomically
from decoder.config import DecoderConfig
from decoder.document import only_documents, print_document
from decoder.pack import Pack, Progress, Run, RunResult
from orchestrator.execute.backends import Execution
from orchestrator.execute.backends.ray_tune import ray_session

def train_pack(pack, execution):
    if execution.gpus_per_pack:
        began = time.time()
        (results.parent / f"began-{pack.pack_id}").touch()
        while len(list(results.parent.glob("began-*"))) < 4 and time.time() < began + 60:
            time.sleep(0.05)  # on a busy machine a pack would end before the others begin
        where = [os.environ["CUDA_VISIBLE_DEVICES"], str(began), str(time.time())]
        yield Progress(1, {}, [result(pack.runs[0].run_id)], remarks=where)
        return
    assert (execution.dataset_dir / "train_features.f32").read_bytes() == bytes(3_000_000)
    folder = execution.checkpoint_dir / pack.pack_id
    checkpoints = sorted(folder.glob("step-*.json"))
    step, chain = 0, pack.pack_id
    if checkpoints:
        step, chain = json.loads(checkpoints[-1].read_bytes())
        assert checkpoints[-1].with_suffix(".safetensors").read_bytes() == b"tensors"
    yield Progress(step, remarks=[f"begins at {step} on {os.environ['SPEECH_BCI_CACHE']}"])
    while step < n_steps:
        time.sleep(0.1)
        step, chain = step + 1, hashlib.sha256(chain.encode()).hexdigest()
        if step % 10 == 0:
            write_atomically(folder / f"step-{step:09d}.safetensors", b"tensors")
            write_atomically(folder / f"step-{step:09d}.json", json.dumps([step, chain]).encode())
            yield Progress(step, remarks=[f"is at {step} on {os.environ['SPEECH_BCI_CACHE']}"])
    for run in pack.runs:
        path = execution.weights_dir / run.run_id / "weights.safetensors"
        write_atomically(path, chain.encode())
    yield Progress(step, {}, [result(run.run_id) for run in pack.runs])
    for path in folder.iterdir():
        path.unlink()

def result(run_id):
    return RunResult(run_id, "ok", (), 1, 1, 0, 0.1, 1, 1)

def pack_of(name):
    return Pack(name, 0, (Run(f"run-{name}", DecoderConfig()),))

address, results, n_steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
events, killed = [], results.parent / "kill"
def on_event(event):
    what = event.what
    assert isinstance(what, Progress), what.traceback
    events.append([event.pack_id, list(what.remarks), [r.run_id for r in what.finished]])
    steps = list((results / "checkpoints" / "p0").glob("step-*.json"))
    if event.pack_id == "p0" and steps and what.remarks and not killed.exists():
        killed.write_text(what.remarks[-1].rpartition("/")[2])

execution = Execution(
    results / "datasets" / "f00d", results / "checkpoints", n_workers=2, threads_per_worker=5,
    checkpoint_every_seconds=0.1, address=address, weights_dir=results / "runs", device="cpu",
)
on_gpus = dataclasses.replace(execution, threads_per_worker=1, gpus_per_pack=0.5, device=None)
on_gpus = dataclasses.replace(on_gpus, n_workers=4)
with only_documents():
    with ray_session(execution, train_pack=train_pack) as train:
        train([pack_of(name) for name in ("p0", "p1", "p2")], execution, on_event)
        train([pack_of(name) for name in ("g0", "g1", "g2", "g3")], on_gpus, on_event)
    print_document(json.dumps(events))
"""


def _two_nodes() -> Any:
    spec = importlib.util.spec_from_file_location("two_nodes", ROOT / "benchmarks/two_nodes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


two_nodes = _two_nodes()


class Story:
    """What happened: the events of the driver, and where everything lies."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "hidden" / "results"
        dataset = self.results / "datasets" / "f00d"
        dataset.mkdir(parents=True)
        (dataset / "manifest.json").write_text("{}")
        (dataset / "train_features.f32").write_bytes(bytes(3_000_000))
        with two_nodes.cluster(folder, head_cpus=4, n_gpus=2) as nodes:
            hidden = self.results.parent
            processes = {name: nodes.add(name, hidden, n_cpus=5) for name in ("first", "second")}
            driver = subprocess.Popen(
                [sys.executable, "-c", DRIVER, nodes.address, str(self.results), str(N_STEPS)],
                cwd=ROOT,
                env={**nodes.environment, "SPEECH_BCI_CACHE": str(nodes.cache("own"))},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                kill = hidden / "kill"
                while driver.poll() is None and not (kill.exists() and kill.read_text()):
                    time.sleep(0.05)
                if driver.poll() is None:
                    self.killed = kill.read_text().removeprefix("cache-")
                    nodes.kill(processes[self.killed])
                    nodes.add("third", hidden, n_cpus=5)
                self.out, self.err = driver.communicate(timeout=120)
            finally:
                driver.kill()
                driver.communicate()
        self.exit_code = driver.returncode

    @property
    def events(self) -> list[tuple[str, list[str], list[str]]]:
        return [tuple(event) for event in json.loads(self.out)]

    def remarks(self, pack_id: str) -> list[str]:
        return [text for name, remarks, _ in self.events if name == pack_id for text in remarks]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    if not two_nodes.can_hide():
        pytest.skip("this user may not hide folders from a process (unshare)")
    return Story(tmp_path_factory.mktemp("nodes"))


def chain(text: str) -> str:
    for _ in range(N_STEPS):
        text = hashlib.sha256(text.encode()).hexdigest()
    return text


@pytest.mark.timeout(240)
def test_every_run_has_its_result_and_its_weights_although_a_node_was_killed(story: Story) -> None:
    assert story.exit_code == 0, story.err
    finished = sorted(run_id for _, _, run_ids in story.events for run_id in run_ids)
    assert finished == sorted(f"run-{name}" for name in ("p0", "p1", "p2", "g0", "g1", "g2", "g3"))
    for name in ("p0", "p1", "p2"):
        weights = story.results / "runs" / f"run-{name}" / "weights.safetensors"
        assert weights.read_text() == chain(name)
    assert not [path for path in (story.results / "checkpoints").rglob("*") if path.is_file()]


def test_a_pack_of_a_killed_node_goes_on_elsewhere_from_what_came_back(story: Story) -> None:
    begun = [text for text in story.remarks("p0") if text.startswith("begins")]
    assert len(begun) >= 2
    assert begun[0].startswith("begins at 0 ") and begun[0].endswith(f"cache-{story.killed}")
    assert not begun[1].startswith("begins at 0 ")
    assert not begun[1].endswith(f"cache-{story.killed}")


def test_recordings_were_sent_to_each_node_that_trained_and_lacks_them_once(story: Story) -> None:
    texts = [text for name in ("p0", "p1", "p2") for text in story.remarks(name)]
    trained = {text.rpartition("/")[2] for text in texts if text.startswith("begins")}
    assert trained >= {"cache-first", "cache-second"}
    for cache in trained:
        assert sum("are sent" in text and f"/{cache}/" in text for text in texts) == 1
        [features] = (story.folder / cache).glob("datasets/f00d-*/train_features.f32")
        assert features.stat().st_size == 3_000_000
    assert not (story.folder / "cache-own").exists()


def test_standard_output_is_one_document_while_ray_speaks_of_a_lost_node(story: Story) -> None:
    assert isinstance(json.loads(story.out), list)


def test_two_packs_share_each_gpu(story: Story) -> None:
    spans = [story.remarks(name) for name in ("g0", "g1", "g2", "g3")]
    assert sorted(gpu for gpu, _, _ in spans) == ["0", "0", "1", "1"]
    latest_start = max(float(start) for _, start, _ in spans)
    assert latest_start < min(float(end) for *_, end in spans)


def test_the_log_of_a_worker_is_its_end(tmp_path: Path) -> None:
    pid = os.getpid()
    (tmp_path / f"worker-ab-01-{pid}.err").write_text("x" * 100_000 + " the end")
    (tmp_path / f"worker-ab-01-{pid}.out").write_text("printed")
    (tmp_path / f"worker-ab-01-{pid}1.out").write_text("of another process")
    (tmp_path / f"python-core-worker-ab_{pid}.log").write_text("")
    log = worker_log(tmp_path, pid)
    assert 32_768 < len(log) < 33_000
    assert "the end" in log and "printed" in log and "another" not in log


def test_markers_of_killed_drivers_are_cleared_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    here = this_process()
    dead = tmp_path / f".seen-{here._replace(started=here.started + 1)}-0123abcd"
    live = tmp_path / f".seen-{here}-0123abcd"
    young = tmp_path / ".seen-elsewhere~1-7-7-0123abcd"
    old = tmp_path / ".seen-elsewhere~1-8-8-0123abcd"
    for marker in (dead, live, young, old):
        marker.touch()
    for marker in (live, old):
        os.utime(marker, (time.time() - 8 * 86400.0,) * 2)
    clear_markers(tmp_path)
    assert set(tmp_path.iterdir()) == {live, young}
