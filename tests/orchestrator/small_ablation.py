"""Small ablations, recordings that are only described, and training that is only pretended."""

import copy
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from decoder.errors import ConfigError
from decoder.pack import HISTORY_COLUMNS, HistoryRow, Pack, Progress, Run, RunResult
from orchestrator.execute.backends import Execution, PackEvent
from orchestrator.execute.machine import Options, choose_options
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.plan.recordings import PrepareData, Recordings
from orchestrator.spec.arms import Arm
from orchestrator.spec.load import Loaded, load_spec
from orchestrator.store.paths import Results

BASE = {
    "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
    "model": {"n_units": 8, "n_layers": 1},
    "optim": {"lr_warmup_steps": 2},
    "train": {"n_steps": 60, "eval_every_steps": 20},
}
SPEC = {
    "name": "question",
    "question": "Does it matter?",
    "base": "base.yaml",
    "factors": {
        "noise": {
            "official": {"augment.white_noise_std": 1.0},
            "weak": {"augment.white_noise_std": 0.25},
        },
        "rate": {"high": {"optim.lr_max": 0.005}, "low": {"optim.lr_max": 0.002}},
    },
    "seeds": [0, 1, 2],
    "hypotheses": {
        "weak_hurts": {
            "claim": "Weak noise raises PER.",
            "contrast": {"factor": "noise", "from": "official", "to": "weak"},
            "where": {"rate": "high"},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.02,
        },
        "only_when_slow": {
            "claim": "Weak noise hurts only at a low rate.",
            "contrast": {"factor": "noise", "from": "official", "to": "weak"},
            "interaction": {"factor": "rate", "from": "high", "to": "low"},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.02,
        },
    },
}

DATA = Recordings(
    fingerprint="f" * 16,
    path="synthetic:tiny",
    folder=Path("datasets/ffff"),
    sessions=("t15.2000.01.01", "t15.2000.01.08"),
    n_train_trials=24,
    n_val_trials=8,
    n_features=16,
    n_classes=41,
    bin_ms=20,
)

WriteSpec = Callable[..., Path]


def altered(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy with dotted keys set; `...` removes one. ``a/b`` keeps dots inside a key."""
    result = copy.deepcopy(dict(document))
    for path, value in changes.items():
        *parents, last = path.split("/")
        at = result
        for parent in parents:
            at = at[parent]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    return result


@pytest.fixture
def write_spec(tmp_path: Path) -> WriteSpec:
    """Writes ``question.yaml`` and its base; changes are given as {"path/to/key": value}.

    As JSON, which is YAML with every text quoted: what is text here is text there.
    """

    def write(
        changes: Mapping[str, Any] | None = None, base: Mapping[str, Any] | None = None
    ) -> Path:
        (tmp_path / "base.yaml").write_text(json.dumps(altered(BASE, base or {})))
        path = tmp_path / "question.yaml"
        path.write_text(json.dumps(altered(SPEC, changes or {}), indent=1))
        return path

    return write


@pytest.fixture
def load(write_spec: WriteSpec) -> Callable[..., Loaded]:
    """Loads a small ablation with changes."""
    return lambda *args, **kwargs: load_spec(write_spec(*args, **kwargs))


@pytest.fixture
def problems(write_spec: WriteSpec) -> Callable[..., tuple[str, ...]]:
    """The complaints about a small ablation with changes."""

    def find(*args: Any, **kwargs: Any) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            load_spec(write_spec(*args, **kwargs))
        return caught.value.problems

    return find


@pytest.fixture
def plan_of() -> Callable[..., Plan]:
    """Plans an ablation on recordings that are only described."""

    def plan(loaded: Loaded, n_workers: int = 2, max_runs_per_pack: int = 16) -> Plan:
        return make_plan(
            loaded, {arm.arm_id: DATA for arm in loaded.arms}, n_workers, max_runs_per_pack
        )

    return plan


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def history_row(step: int, per: float = 0.1 + 0.2) -> HistoryRow:
    """One evaluation; the default PER has no short decimal form."""
    row = dict.fromkeys(HISTORY_COLUMNS, 1 / 3)
    counts = {"n_edits": 3, "n_reference": 10, "n_edits_even": 2, "n_reference_even": 5}
    return {**row, **counts, "step": step, "per": per, "n_distinct": 12}


def result_of(run: Run, status: str = "ok", n_runs: int = 1) -> RunResult:
    """A pretended result, the same for the same run."""
    train = run.config.train
    steps = range(train.eval_every_steps, train.n_steps + 1, train.eval_every_steps)
    per = int(run.run_id[:4], 16) / 65536
    return RunResult(
        run_id=run.run_id,
        status="ok" if status == "ok" else "diverged",
        history=tuple(history_row(step, per) for step in steps),
        n_steps_done=train.n_steps,
        n_parameters=1234,
        n_dropped_trials=0,
        pack_seconds=3.0,
        n_runs_in_pack=n_runs,
        peak_memory_bytes=1 << 20,
    )


def pretend(
    packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
) -> None:
    """A backend whose training is instant."""
    for pack in packs:
        latest = {run.run_id: history_row(20) for run in pack.runs}
        on_event(PackEvent(pack.pack_id, Progress(20, latest), {"device": "none"}))
        finished = [result_of(run, n_runs=len(pack.runs)) for run in pack.runs]
        on_event(PackEvent(pack.pack_id, Progress(60, {}, finished), {"device": "none"}))


@pytest.fixture
def backend() -> Any:
    return pretend


@pytest.fixture
def make_row() -> Callable[..., HistoryRow]:
    return history_row


@pytest.fixture
def make_result() -> Callable[..., RunResult]:
    return result_of


@pytest.fixture
def data_info() -> Recordings:
    return DATA


def describe_recordings(arms: Sequence[Arm], folder: Path, say: Any) -> dict[str, Recordings]:
    """Recordings that are only described."""
    return {arm.arm_id: DATA for arm in arms}


@pytest.fixture
def describe() -> PrepareData:
    return describe_recordings


class Rebuilds(list[tuple[Any, ...]]):
    """What would have been reported: (folder, plan, records, histories) of each call."""

    def __call__(self, *arguments: Any) -> None:
        self.append(arguments)


@pytest.fixture
def rebuilt() -> Rebuilds:
    """Stands in for `rebuild`, and writes nothing."""
    return Rebuilds()


@pytest.fixture
def options() -> Options:
    return choose_options("local", n_workers=2, threads=1, device="cpu")


@pytest.fixture
def console() -> Console:
    """A console that records what is said; see `Console.export_text`."""
    return Console(record=True, width=200, file=io.StringIO())
