"""`orchestrator.tables.words`, and what runs with words count as in the table of runs."""

import math
from typing import Any, cast

import pandas as pd
import pytest

from decoder.collapse import CollapseThresholds
from decoder.pack import HISTORY_COLUMNS
from orchestrator.spec.units import difference_text, is_error_rate, value_text
from orchestrator.store.record import Record
from orchestrator.tables.run_columns import result_columns
from orchestrator.tables.words import words_table

WORDS = {"decoder": "beam", "language_model": "train"}
FACTS: dict[str, Any] = {
    "decoder": "beam",
    "lm_weight": 2.0,
    "word_score": 0.0,
    "blank_penalty": 1.5,
    "n_tuned": 33,
    "n_reported": 39,
    "lexicon_words": 126052,
    "language_model_sha256": "ab" * 32,
}


def record(words: dict[str, Any] | None, **config: Any) -> Record:
    whole = {
        "status": "ok",
        "config": {"train": {}, "evaluation": {"words": WORDS}, **config},
        "host": {},
        "environment": {},
        "timing": {"pack_seconds": 1.0, "run_seconds": 1.0, "finished_at": ""},
        "pack": {"pack_id": "p", "n_runs": 1},
        "n_steps_done": 10,
        "diverged_step": None,
        "n_parameters": 1,
        "n_dropped_trials": 0,
        "peak_memory_bytes": 1,
        "error": None,
    }
    return cast(Record, {**whole, **({"words": words} if words else {})})


def run(run_id: str, arm: str, seed: int, wer: float) -> dict[str, Any]:
    of_words = {"wer": wer, "wer_oracle": wer / 2, "out_of_vocabulary": 0.01}
    return {"run_id": run_id, "arm": arm, "seed": seed, **of_words}


def test_a_run_with_words_has_a_row_with_what_decoded_it() -> None:
    rows = [run("a", "base", 1, 0.5), run("b", "base", 2, 0.3), run("c", "plain", 1, math.nan)]
    other = {**FACTS, "lm_weight": 1.5}
    records = {"a": record(FACTS), "b": record(other), "c": record(None)}
    table = words_table(pd.DataFrame(rows), records)
    assert table["run_id"].tolist() == ["a", "b"]
    assert table["lm_weight"].tolist() == [2.0, 1.5]
    assert table["lexicon_words"].tolist() == [126052, 126052]
    assert table["language_model_sha256"].tolist() == ["ab" * 32] * 2
    assert words_table(pd.DataFrame(rows[2:]), records).empty


def test_a_command_s_run_has_no_weights_and_no_model() -> None:
    facts = {"decoder": "command", "n_tuned": 0, "n_reported": 9, "n_left_out": 0, "grid_size": 1}
    table = words_table(pd.DataFrame([run("a", "base", 1, 1.2)]), {"a": record(facts)})
    [row] = table.to_dict("records")
    assert (row["language_model"], row["language_model_sha256"]) == ("", "")
    assert math.isnan(row["lm_weight"]) and math.isnan(row["lexicon_words"])
    assert row["wer"] == 1.2  # insertions lift it above 1


@pytest.mark.parametrize(("decoder", "expected"), [("beam", 1.0), ("none", None)])
@pytest.mark.parametrize("n_rows", [0, 1])
def test_a_diverged_run_counts_as_wholly_wrong(
    decoder: str, expected: float | None, n_rows: int
) -> None:
    whole = record(None, evaluation={"words": {"decoder": decoder}}, data={"held_out_sessions": 1})
    diverged = cast(Record, {**whole, "status": "diverged", "diverged_step": 3})
    row = dict.fromkeys(HISTORY_COLUMNS, 0.5) | {"per_held_out": 0.5}
    row |= {"wer": math.nan, "n_word_edits": math.nan} if decoder == "beam" else {}
    columns = result_columns(diverged, [row] * n_rows, CollapseThresholds())
    for name in ("wer", "wer_oracle", "wer_held_out"):
        assert columns.get(name) == expected
    assert columns["per_held_out"] == 1.0


def test_rates_of_words_are_percent_and_their_counts_are_not() -> None:
    assert all(map(is_error_rate, ("wer", "wer_oracle", "wer_held_out")))
    assert value_text(1.25, "wer") == "125.0 %" and value_text(0.02, "out_of_vocabulary") == "2.0 %"
    assert difference_text(-0.031, "wer") == "−3.1"
    assert value_text(106.0, "n_word_edits") == "106"
