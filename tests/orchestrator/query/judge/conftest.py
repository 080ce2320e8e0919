"""A store with the twelve arms of an ablation, and a claims file over its runs."""

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.reporting import rebuild_report
from orchestrator.query.judge.judge import judge_runs
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan

CONDITIONS = {
    "augmentation": {
        "official": "augment.white_noise_std == 1.0 and augment.constant_offset_std == 0.2",
        "weak": "augment.white_noise_std == 0.25 and augment.constant_offset_std < 0.2",
    },
    "learning_rate": {"0.005": "optim.lr_max == 0.005", "0.002": "optim.lr_max == 0.002"},
    "loss_scale": {
        "sum": "loss.ctc_reduction == 'none_then_mean'",
        "mean": "loss.ctc_reduction == 'mean' and optim.epsilon == 0.1",
        "mean-eps1e-8": "loss.ctc_reduction == 'mean' and optim.epsilon < 0.1",
    },
}

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory, twelve_arms: Any, keep: Any) -> Results:
    """A results folder with the ablation ``blank_collapse``, never written to by a test."""
    results: Results = keep(Results(tmp_path_factory.mktemp("past")), twelve_arms)
    return results


@pytest.fixture
def store(tmp_path: Path, past: Results) -> Results:
    """A results folder of its own with the runs of `past`."""
    return copy_of(past, tmp_path / "results")


def copy_of(past: Results, root: Path) -> Results:
    shutil.copytree(past.ablations, root / "ablations")
    (root / "runs").symlink_to(past.runs)
    return Results(root)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a claims file; its keys are given, and one of None is left out."""

    def to_file(**keys: Any) -> Path:
        known = {key: value for key, value in keys.items() if value is not None}
        path = tmp_path / "claims.yaml"
        path.write_text(json.dumps({"name": "judged", "question": "Does it matter?", **known}))
        return path

    return to_file


@pytest.fixture
def of_twelve(write: Write, twelve_arms: Any) -> Write:
    """Writes the claims of ``blank_collapse`` over conditions on settings, with changes."""
    return lambda **keys: write(**{**claims_of(twelve_arms), **keys})


def claims_of(ablation: Any) -> dict[str, Any]:
    return {
        "factors": copy.deepcopy(CONDITIONS),
        "where": "optim.lr_warmup_steps == 20",
        "hypotheses": {
            name: json.loads(claim.model_dump_json(by_alias=True, exclude_defaults=True))
            for name, claim in ablation.plan.spec.hypotheses.items()
        },
    }


@pytest.fixture(scope="session")
def judged_twelve(
    tmp_path_factory: pytest.TempPathFactory, past: Results, twelve_arms: Any
) -> Results:
    """A results folder with ``blank_collapse``, its report, and the judgement ``judged`` of it."""
    folder = tmp_path_factory.mktemp("judged")
    results = copy_of(past, folder / "results")
    rebuild_report(results, read_plan(results, "blank_collapse"), lambda text: None)
    path = folder / "claims.yaml"
    keys = {"name": "judged", "question": "Does it matter?", **claims_of(twelve_arms)}
    path.write_text(json.dumps(keys))
    judge_runs(path, ["blank_collapse"], results, lambda text: None)
    return results


def claim(**changes: Any) -> Mapping[str, Any]:
    """A claim that level b of a factor has a lower PER than level a."""
    return {
        "claim": "b is better.",
        "contrast": {"factor": "system", "from": "a", "to": "b"},
        "outcome": "per",
        "direction": "decrease",
        "margin": 0.01,
        **changes,
    }


@pytest.fixture(name="claim")
def claim_fixture() -> Callable[..., Mapping[str, Any]]:
    """`claim`."""
    return claim


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a CSV table from a header and rows of text."""

    def to_file(header: str, *rows: str) -> Path:
        path = tmp_path / "lab.csv"
        path.write_text("\n".join((header, *rows)) + "\n")
        return path

    return to_file
