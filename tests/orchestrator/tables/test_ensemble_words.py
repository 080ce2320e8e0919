"""WER of all seeds of an arm together: decoded once from kept logits, then read."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from decoder.config import DecoderConfig
from decoder.data.store import open_dataset
from decoder.logits import LogitTrial, read_logits, write_logits
from decoder.phonemes import BLANK, N_CLASSES
from decoder.word_evaluation import ensemble_errors
from orchestrator.cli.app import app
from orchestrator.store.ledger import config_of, read_records
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.tables.ensemble_words import EnsembleWords

pytest.importorskip("flashlight.lib.text.decoder")

WORDS = {
    "decoder": "beam",
    "lexicon": "train",
    "language_model": "train",
    "lm_weight": 1.0,
    "word_score": 0.0,
    "blank_penalty": 0.0,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two seeds with words and two without; their logits are those of a better decoder."""
    folder = tmp_path_factory.mktemp("words")
    base = {
        "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
        "model": {"n_units": 16, "n_layers": 1},
        "optim": {"lr_warmup_steps": 2, "lr_max": 0.02},
        "train": {"n_steps": 18, "eval_every_steps": 6, "keep_logits": "validation"},
        "evaluation": {"words": WORDS},
    }
    spec = {
        "name": "together",
        "question": "What do ensembles give?",
        "base": "base.yaml",
        "factors": {"words": {"yes": {}, "no": {"evaluation.words.decoder": "none"}}},
        "seeds": [1, 2],
    }
    (folder / "base.yaml").write_text(json.dumps(base))
    (folder / "spec.yaml").write_text(json.dumps(spec))
    words = ["run", str(folder / "spec.yaml"), "--backend", "local", "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--results", str(folder / "results")])
    assert done.exit_code == 0, done.output
    results = Results(folder / "results")
    for seed, path in enumerate(sorted(results.runs.glob("*/logits.npz"))):
        kept, rng = read_logits(path), np.random.default_rng(seed)
        write_logits(path, [better(one, rng) for one in kept.trials], kept.facts)
    done = CliRunner().invoke(app, ["report", "together", "--results", str(results.root)])
    assert done.exit_code == 0, done.output
    return results


def better(trial: LogitTrial, rng: np.random.Generator) -> LogitTrial:
    logits = rng.normal(0, 2, (2 * len(trial.labels) + 1, N_CLASSES))
    logits[::2, BLANK] += 5
    logits[np.arange(len(trial.labels)) * 2 + 1, trial.labels] += 5
    return trial._replace(logits=np.float32(logits))


def records_of(results: Results) -> Mapping[str, Record]:
    run_ids = [path.parent.name for path in results.runs.glob("*/record.json")]
    return read_records(results, run_ids, print)


def with_words(results: Results) -> list[str]:
    records = records_of(results)
    decoders = {one: records[one]["config"]["evaluation"]["words"]["decoder"] for one in records}
    return [one for one, decoder in decoders.items() if decoder == "beam"]


def test_the_report_has_the_wer_of_single_seeds_and_of_all_together(results: Results) -> None:
    folder = results.ablation("together")
    table = pd.read_csv(folder / "ensembles.csv").set_index(["arm", "n_members"])
    recorded = pd.read_csv(folder / "runs.csv")
    assert table.loc[("yes", 1), "wer"] == pytest.approx(
        recorded[recorded["arm"] == "yes"]["wer"].mean(), abs=1e-9
    )
    assert table.loc["no", "wer"].isna().all()
    run_ids = with_words(results)
    config = config_of(records_of(results)[run_ids[0]])
    assert isinstance(config, DecoderConfig) and len(run_ids) == 2
    [store] = [path.parent for path in results.datasets.glob("*/manifest.json")]
    members = [read_logits(results.run(one)) for one in run_ids]
    errors = ensemble_errors(config, open_dataset(store), members)
    assert table.loc[("yes", 2), "wer"] == pytest.approx(errors.wer, abs=1e-9)
    assert 0 < errors.wer < 0.8
    kept = json.loads(results.ensemble_words.read_text()).values()
    assert [errors.n_edits, errors.n_reference] in kept
    assert "WER" in (folder / "report.md").read_text()


def test_what_was_decoded_is_read_again_and_a_damaged_file_is_made_anew(results: Results) -> None:
    run_ids, records, said = with_words(results), records_of(results), list[str]()
    first = EnsembleWords(results, records, said.append).wer(run_ids)
    assert EnsembleWords(results, records, said.append).wer(run_ids[::-1]) == first
    assert said == []
    results.ensemble_words.write_text("[1, 2")
    assert EnsembleWords(results, records, said.append).wer(run_ids) == first
    assert len(said) == 1
    EnsembleWords(results, records, said.append).wer(run_ids)
    assert len(said) == 1


def test_other_logits_are_decoded_anew_and_what_is_missing_is_said(results: Results) -> None:
    run_ids, records, said = with_words(results), records_of(results), list[str]()
    alone = EnsembleWords(results, records, said.append).wer(run_ids[:1])
    assert not math.isnan(alone) and len(said) == 1
    elsewhere = Results(Path("no-such-folder"))
    assert math.isnan(EnsembleWords(elsewhere, records, said.append).wer(run_ids))
    assert len(said) == 2
    without = [one for one in records if one not in run_ids]
    assert math.isnan(EnsembleWords(results, records, said.append).wer(without))
    assert math.isnan(EnsembleWords(results, {}, said.append).wer(run_ids))
    assert len(said) == 2
