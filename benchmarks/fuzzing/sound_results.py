"""A sound results folder, with runs that nobody trained, and what is read from it."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from typer.testing import CliRunner

from decoder.pack import HISTORY_COLUMNS, Pack, Progress, Run, RunResult
from orchestrator.cli.app import app
from orchestrator.driver.run import run_ablation
from orchestrator.execute.backends import Execution, PackEvent
from orchestrator.execute.machine import choose_options
from orchestrator.plan.recordings import Recordings
from orchestrator.search.driver import run_search
from orchestrator.search.load import load_search
from orchestrator.spec.arms import Arm
from orchestrator.spec.load import load_spec
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results

OPTIONS = choose_options("local", n_workers=1, threads=1, device="cpu")
DATA = Recordings("f" * 16, "synthetic:tiny", Path("nowhere"), ("day1",), 24, 8, 16, 41, 20)
BASE = {
    "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
    "model": {"n_units": 8, "n_layers": 1},
    "optim": {"lr_warmup_steps": 2},
    "train": {"n_steps": 80, "eval_every_steps": 20},
}
CLAIM = {"factor": "noise", "from": "official", "to": "weak"}
ABLATION = {
    "name": "one",
    "question": "Does it matter?",
    "base": "base.yaml",
    "factors": {"noise": {"official": {}, "weak": {"augment.white_noise_std": 0.25}}},
    "seeds": [0, 1, 2],
    "hypotheses": {
        "h": {
            "claim": "Weak noise raises PER.",
            "contrast": CLAIM,
            "outcome": "per",
            "direction": "increase",
            "margin": 0.02,
        }
    },
}
SEARCH = {
    "name": "hunt",
    "question": "Which rate?",
    "base": "base.yaml",
    "space": {"optim.lr_max": {"log": [0.0005, 0.05]}},
    "n_candidates": 4,
    "seeds": [1, 2],
    "sampler": "random",
    "stopping": {"method": "asha", "min_steps": 20, "reduction_factor": 2},
}


def instant(
    packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
) -> None:
    """A backend that trains nothing; the same run gets the same result."""
    for pack in packs:
        ended, paused = [], {}
        for run in pack.runs:
            rows = _rows(run)
            until = min(execution.until_step or 10**9, run.config.train.n_steps)
            if until < run.config.train.n_steps:
                paused[run.run_id] = tuple(row for row in rows if row["step"] <= until)
            else:
                sessions, confusions = {"day1": (3, 10)}, ((0, 4, 1), (3, 3, 8), (3, 0, 2))
                ended.append(
                    RunResult(
                        run.run_id, "ok", tuple(rows), until, 1234, 0, 3.0, len(pack.runs), 2**20,
                        per_session=sessions, confusions=confusions,
                        grad_norm_quantiles={"p50": 1.5, "max": 9.25},
                    )
                )  # fmt: skip
        on_event(PackEvent(pack.pack_id, Progress(1, {}, tuple(ended), paused=paused)))


def _rows(run: Run) -> list[dict[str, float]]:
    per = 0.2 + int(run.run_id[:4], 16) / 2**18
    counts = {"n_edits": 3, "n_reference": 10, "n_edits_even": 2, "n_reference_even": 5}
    return [
        {**dict.fromkeys(HISTORY_COLUMNS, 1 / 3), **counts, "step": step, "per": per}
        | {"n_distinct": 20, "emitted_ratio": 0.9}
        for step in range(20, run.config.train.n_steps + 1, 20)
    ]


def _describe(arms: Sequence[Arm], datasets: Path, say: Any) -> dict[str, Recordings]:
    return {arm.arm_id: DATA for arm in arms}


def drive(folder: Path) -> int:
    """Run the driver on the ablation, without a report; its exit code."""
    outcome = run_ablation(
        load_spec(folder / "one.yaml"),
        Results(folder / "results"),
        OPTIONS,
        Console(file=io.StringIO()),
        backend=instant,
        describe=_describe,
        rebuild=lambda *given: None,
    )
    return outcome.exit_code


def search(folder: Path) -> None:
    """Start the search or continue it, and write its report."""
    run_search(
        load_search(folder / "hunt.yaml"),
        Results(folder / "results"),
        OPTIONS,
        Console(file=io.StringIO()),
        backend=instant,
        prepare=_describe,
    )


def make_sound(folder: Path) -> None:
    """A results folder with an ablation, a search, an index, and a group of imported runs."""
    folder.mkdir(parents=True)
    for name, document in (("base", BASE), ("one", ABLATION), ("hunt", SEARCH)):
        (folder / f"{name}.yaml").write_text(json.dumps(document))
    results = Results(folder / "results")
    assert drive(folder) == 0
    search(folder)
    results.memory.write_text("[]")
    results.driver("one").write_text('{"pid": 1, "host": "x", "since": "now", "n_running": 2}')
    imported = folder / "trained" / "run1"
    imported.mkdir(parents=True)
    (imported / "args.json").write_text(json.dumps({"seed": 1, "lr": 0.02}))
    (imported / "metrics.csv").write_text("step,val_PER\n100,0.5\n200,0.4\n")
    arguments = ["import-runs", str(imported.parent), "--as", "group"]
    done = CliRunner().invoke(app, [*arguments, "--results", str(results.root)])
    assert done.exit_code == 0, done.output


def sound_values(results: Results) -> dict[str, tuple[Any, Any]]:
    """Run id → record and history of every run."""
    run_ids = [path.parent.name for path in results.runs.glob("*/record.json")]
    records = read_records(results, run_ids, ignore, move_aside=False)
    assert len(records) == len(run_ids)
    return {run_id: (record, read_history(results, run_id)) for run_id, record in records.items()}


def unseal(results: Results) -> None:
    """Take the checksums out of the records, as versions without one wrote them."""
    for path in results.runs.glob("*/record.json"):
        document = json.loads(path.read_bytes())
        del document["record_sha256"]
        path.write_text(json.dumps(document, indent=1))


def ignore(text: str) -> None:
    """Remarks do not matter."""
