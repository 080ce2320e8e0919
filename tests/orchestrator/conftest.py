"""Ablations made up from a known truth: a plan, its records and histories, nothing trained."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from small_ablation import backend as backend
from small_ablation import console as console
from small_ablation import data_info as data_info
from small_ablation import describe as describe
from small_ablation import load as load
from small_ablation import make_result as make_result
from small_ablation import make_row as make_row
from small_ablation import options as options
from small_ablation import plan_of as plan_of
from small_ablation import problems as problems
from small_ablation import rebuilt as rebuilt
from small_ablation import results as results
from small_ablation import write_spec as write_spec

from decoder.atomic import sha256_of
from decoder.config import DecoderConfig, canonical_json, identity, override, resolve, run_id_of
from decoder.config import run_id as run_id_of_config
from decoder.pack import HISTORY_COLUMNS
from orchestrator.plan.document import (
    PlanDocument,
    RecordingsEntry,
    RunEntry,
    aliases_of,
    arm_entries,
)
from orchestrator.spec.arms import make_arms
from orchestrator.spec.load import AblationSpec, Loaded
from orchestrator.store.ledger import history_csv
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan


class Truth(NamedTuple):
    """How the runs of one arm end.

    Attributes:
        per: final PER of the median seed.
        collapses: probability that a seed never leaves the blank plateau.
        escape: step at which the median seed leaves it otherwise.
        spread: standard deviation over seeds of the final PER.
        status: status of the run of each seed that is not "ok".
    """

    per: float = 0.3
    collapses: float = 0.0
    escape: int = 120
    spread: float = 0.02
    status: Mapping[int, str] = {}


class Ablation(NamedTuple):
    plan: PlanDocument
    records: dict[str, dict[str, Any]]
    histories: dict[str, list[dict[str, float]]]


TruthOf = Callable[[Mapping[str, str], str], Truth]
N_STEPS, EVAL_EVERY = 400, 20
FINGERPRINT = "4f1d9b27c0a853e6"  # of the recordings


def make_ablation(
    spec: Mapping[str, Any], truth: TruthOf, changes: Mapping[str, Any] | None = None
) -> Ablation:
    """A plan and a ledger for `spec`.

    Args:
        spec: an ablation file's content; ``base`` is not read.
        truth: (levels, arm id) → how its runs end.
        changes: config paths set in every arm.
    """
    parsed = AblationSpec.model_validate({"base": "base.yaml", **spec})
    base = override(DecoderConfig(), {"train.n_steps": N_STEPS, **(changes or {})}, "test")
    base = override(base, {"train.eval_every_steps": EVAL_EVERY, "optim.lr_warmup_steps": 20}, "")
    loaded = Loaded(parsed, base, Path("ablation.yaml"), make_arms(parsed, base))
    arms = arm_entries(loaded)
    records, histories, runs = {}, {}, []
    for arm in arms:
        config = resolve(override(base, arm.changes, arm.arm_id)).model_dump(mode="json")
        for block in parsed.seeds:
            seed = block + arm.seed_offset
            whole = DecoderConfig.model_validate(config)
            run_id = run_id_of_config(whole, seed, FINGERPRINT, arm.replicate)
            runs.append(RunEntry(run_id=run_id, arm_id=arm.arm_id, seed=seed, block=block))
            how = truth(arm.levels, arm.arm_id)
            status = how.status.get(seed, "ok")
            if status == "missing":
                continue
            # Of what the arm changes, so that a new config field leaves the numbers alone.
            noise = _digest([arm.changes, arm.replicate], 0)
            rng = np.random.default_rng([seed, int(noise[:8], 16)])
            rows = simulate_history(how, rng)
            n_rows = len(rows) if status == "ok" else int(rng.integers(len(rows) // 2, len(rows)))
            histories[run_id] = rows[:n_rows] if status != "failed" else []
            record = _record(run_id, seed, config, status, n_rows * EVAL_EVERY)
            records[run_id] = {**record, **({"replicate": arm.replicate} if arm.replicate else {})}
    plan = PlanDocument(
        name=parsed.name,
        question=parsed.question,
        spec_file=f"ablations/{parsed.name}.yaml",
        spec=parsed,
        spec_hash=_digest(parsed.name, 0),
        dataset=RecordingsEntry(
            fingerprint=FINGERPRINT,
            path="synthetic:small",
            n_train_trials=380,
            n_val_trials=80,
            sessions=("t15.2023.08.11", "t15.2023.08.13"),
        ),
        arms=arms,
        runs=tuple(runs),
        aliases=aliases_of(parsed),
    )
    return Ablation(plan, records, histories)


def simulate_history(how: Truth, rng: np.random.Generator) -> list[dict[str, float]]:
    """Learning curves: a blank plateau, and an exponential descent once it is left."""
    collapsed = rng.random() < how.collapses
    escape = np.inf if collapsed else how.escape * np.exp(rng.normal(0, 0.15))
    final = min(0.98, max(0.05, how.per + rng.normal(0, how.spread)))
    rows = []
    for step in range(EVAL_EVERY, N_STEPS + 1, EVAL_EVERY):
        progress = 1 - np.exp(-max(0.0, step - escape) / 70)
        per = 1.0 - (1.0 - final) * progress / (1 - np.exp(-(N_STEPS - min(escape, 390)) / 70))
        on = progress == 0
        n_edits = round(2000 * (per if not on else 1.0))
        values = {
            "step": step,
            "per": n_edits / 2000,
            "n_edits": n_edits,
            "n_reference": 2000,
            "n_edits_even": n_edits // 2,
            "n_reference_even": 1000,
            "blank_fraction": 1.0 if on else 0.98 - 0.25 * progress,
            "emitted_ratio": 0.001 * rng.random() if on else 0.06 + 0.85 * progress,
            "n_distinct": 1 if on else 3 + round(36 * progress),
            "blank_posterior": 0.97 if on else 0.95 - 0.2 * progress,
            "entropy_nats": 0.4,
            "val_loss": 80 - 50 * progress,
            "train_loss": 80 - 60 * progress,
            "grad_norm": 3 + rng.random(),
            "grad_norm_max": 9.0,
            "clipped_share": 0.1,
            "update_norm": 0.01,
            "epsilon_over_grad_rms": 120.0,
            "learning_dose": 0.02 * step,
            "lr": 0.005 * (1 - step / (N_STEPS + 1)),
        }
        rows.append({name: float(values[name]) for name in HISTORY_COLUMNS})
    return rows


def _record(
    run_id: str, seed: int, config: Mapping[str, Any], status: str, n_done: int
) -> dict[str, Any]:
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "decoder/train.py", line 120, in train\n'
        "    loss.backward()\n"
        "RuntimeError: out of memory: <script>alert(1)</script>\n"
    )
    return {
        "schema": 1,
        "run_id": run_id,
        "seed": seed,
        "config": config,
        "dataset": {"fingerprint": FINGERPRINT, "path": "synthetic:small"},
        "numerics_version": 1,
        "status": status,
        "diverged_step": n_done + 7 if status == "diverged" else None,
        "error": traceback if status == "failed" else None,
        "n_steps_done": n_done,
        "n_parameters": 431_209,
        "n_dropped_trials": 0,
        "n_skipped_steps": 0,
        "per_session": {"t15.2023.08.11": [seed, 90], "t15.2023.08.13": [2 * seed, 110]},
        "confusions": [[1, 1, 190 - 3 * (seed % 60)], [1, 2, 2 * seed], [2, 0, seed], [2, 2, 10]],
        "beam": {},
        "pack": {"pack_id": f"pack-{seed}", "n_runs": 13},
        "timing": {
            "pack_seconds": 55.0 + seed,
            "run_seconds": 4.2,
            "finished_at": "2026-01-01T00:00:00+00:00",
        },
        "host": {"hostname": "desk", "pid": 4711, "device": "cpu"},
        "environment": {
            "python": "3.11.9",
            "torch": "2.13.0",
            "code": {"decoder_sha256": "a" * 64, "git_commit": "0123abcd", "git_dirty": True},
        },
        "peak_memory_bytes": 600_000_000,
    }


def _digest(value: Any, seed: int | str) -> str:
    return hashlib.sha256(f"{json.dumps(value, sort_keys=True)}{seed}".encode()).hexdigest()[:16]


TWELVE_ARMS: dict[str, Any] = {
    "name": "blank_collapse",
    "question": "What makes a T15 decoder collapse to blanks: weak augmentation, a small "
    "learning rate, or the scale of the loss?",
    "factors": {
        "augmentation": {
            "official": {},
            "weak": {"augment.white_noise_std": 0.25, "augment.constant_offset_std": 0.05},
        },
        "learning_rate": {"0.005": {}, "0.002": {"optim.lr_max": 0.002}},
        "loss_scale": {
            "sum": {},
            "mean": {"loss.ctc_reduction": "mean"},
            "mean-eps1e-8": {"loss.ctc_reduction": "mean", "optim.epsilon": 1e-8},
        },
    },
    "extra_arms": {
        "user": {
            "levels": {"augmentation": "weak", "learning_rate": "0.002", "loss_scale": "mean"},
            "set": {"optim.lr_warmup_steps": 40},
            "note": "The user's own full configuration.",
        }
    },
    "seeds": [0, 1, 2, 3, 4, 5],
    "hypotheses": {
        "weak-augmentation": {
            "claim": "Weak augmentation brings collapse back.",
            "contrast": {"factor": "augmentation", "from": "official", "to": "weak"},
            "where": {"learning_rate": "0.005", "loss_scale": "sum"},
            "outcome": "collapsed",
            "direction": "increase",
            "margin": 0.5,
        },
        "small-learning-rate": {
            "claim": "A learning rate of 0.002 converges much more slowly.",
            "contrast": {"factor": "learning_rate", "from": "0.005", "to": "0.002"},
            "where": {"augmentation": "official", "loss_scale": "sum"},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.05,
        },
        "loss-scale": {
            "claim": "Dividing the loss by the target length causes the collapse.",
            "contrast": {"factor": "loss_scale", "from": "sum", "to": "mean"},
            "where": {"augmentation": "official", "learning_rate": "0.005"},
            "outcome": "collapsed",
            "direction": "increase",
            "margin": 0.5,
        },
        "escape": {
            "claim": "A learning rate of 0.002 lengthens the blank plateau.",
            "contrast": {"factor": "learning_rate", "from": "0.005", "to": "0.002"},
            "where": {"augmentation": "official", "loss_scale": "sum"},
            "outcome": "escape_step",
            "direction": "increase",
            "margin": 40,
        },
        "interaction": {
            "claim": "A small learning rate hurts only where the loss is small.",
            "contrast": {"factor": "learning_rate", "from": "0.005", "to": "0.002"},
            "interaction": {"factor": "loss_scale", "from": "mean-eps1e-8", "to": "sum"},
            "where": {"augmentation": "official"},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.05,
            "family": "secondary",
        },
    },
}


def twelve_truth(levels: Mapping[str, str], arm_id: str) -> Truth:
    """Loss scale decides; a small learning rate delays; weak augmentation overfits a little."""
    status: dict[int, str] = {}
    if levels["loss_scale"] == "mean":
        return Truth(per=0.9, collapses=0.9, escape=340, status=status)
    slow = levels["learning_rate"] == "0.002" and levels["loss_scale"] == "sum"
    if levels["loss_scale"] == "mean-eps1e-8" and levels["augmentation"] == "weak":
        status = {2: "diverged"} if levels["learning_rate"] == "0.005" else {}
    weak = levels["augmentation"] == "weak"
    per = (0.72 if slow else 0.27) + (0.04 if weak else 0.0)
    return Truth(per=per, escape=240 if slow else 110, status=status)


@pytest.fixture(scope="session")
def twelve_arms() -> Ablation:
    """2 × 2 × 3 arms and the user's own, six seeds, five hypotheses."""
    return make_ablation(TWELVE_ARMS, twelve_truth)


TWO_ARMS: dict[str, Any] = {
    "name": "two",
    "question": "Does the loss scale matter?",
    "factors": {"loss": {"sum": {}, "mean": {"loss.ctc_reduction": "mean"}}},
    "seeds": [0, 1, 2],
    "hypotheses": {
        "h": {
            "claim": "The mean is worse.",
            "contrast": {"factor": "loss", "from": "sum", "to": "mean"},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.05,
        }
    },
}


@pytest.fixture(scope="session")
def build() -> Callable[..., Ablation]:
    """`make_ablation`, for tests with a truth of their own."""
    return make_ablation


@pytest.fixture(scope="session")
def truth() -> type[Truth]:
    return Truth


@pytest.fixture(scope="session")
def two_arm_spec() -> dict[str, Any]:
    """One factor, two levels, three seeds, one claim about PER."""
    return TWO_ARMS


def write_ablation(results: Results, ablation: Ablation, salt: str = "", **changed: Any) -> Results:
    """Keep a made-up ablation where a driver would: its plan, and records that are not there yet.

    Args:
        results: where to.
        ablation: see `make_ablation`.
        salt: changes every run id, by the number of a repetition.
        changed: fields of every record that are to be another.
    """
    replicate = {"replicate": int(_digest(salt, 0)[:6], 16)} if salt else {}
    named = {old: old for old in _run_ids(ablation)}
    named |= {
        old: _run_id_of({**record, **changed, **replicate})
        for old, record in ablation.records.items()
    }
    runs = [run.model_copy(update={"run_id": named[run.run_id]}) for run in ablation.plan.runs]
    write_plan(results, ablation.plan.model_copy(update={"runs": tuple(runs)}))
    for old, record in ablation.records.items():
        rows = history_csv(ablation.histories[old])
        folder = results.run(named[old])
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        (folder / "history.csv").write_bytes(rows)
        record = {
            **record,
            **changed,
            **replicate,
            "run_id": named[old],
            "history_sha256": sha256_of(rows),
            "n_history_rows": len(ablation.histories[old]),
        }
        (folder / "record.json").write_text(json.dumps(record))
    return results


def _run_id_of(record: Mapping[str, Any]) -> str:
    return run_id_of(
        canonical_json(identity(DecoderConfig.model_validate(record["config"]))),
        record["seed"],
        record["dataset"]["fingerprint"],
        record.get("replicate", 0),
        record["numerics_version"],
    )


def _run_ids(ablation: Ablation) -> list[str]:
    return [run.run_id for run in ablation.plan.runs]


@pytest.fixture(scope="session")
def keep() -> Callable[..., Results]:
    """`write_ablation`."""
    return write_ablation


@pytest.fixture
def store(tmp_path: Path, two_arm_spec: dict[str, Any]) -> Results:
    """A results folder with one ablation: two arms, six seeds, the second arm collapses."""

    def truth(levels: Mapping[str, str], arm: str) -> Truth:
        return Truth(per=0.3) if levels["loss"] == "sum" else Truth(collapses=1.0)

    made = make_ablation({**two_arm_spec, "seeds": list(range(6))}, truth)
    return write_ablation(Results(tmp_path / "results"), made)
