"""How the runs of an ablation were decoded to words, and what came out."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from orchestrator.store.record import Record


class WordsRow(NamedTuple):
    """The words of one run at its last evaluation.

    Attributes:
        decoder: ``beam`` or ``command``.
        wer, wer_oracle, out_of_vocabulary: see `decoder.pack.WORD_COLUMNS`.
        n_reported: trials whose errors are counted.
        n_tuned: trials that chose the weights; 0 if all weights are stated.
        lm_weight, word_score, blank_penalty: the weights; NaN for a command.
        lexicon_words: words that may come out; NaN for a command, which does not say them.
        language_model: ``none``, ``train`` or the file, as configured; empty for a command.
        language_model_sha256: of its content; empty without one.
    """

    run_id: str
    arm: str
    seed: int
    decoder: str
    wer: float
    wer_oracle: float
    out_of_vocabulary: float
    n_reported: int
    n_tuned: int
    lm_weight: float
    word_score: float
    blank_penalty: float
    lexicon_words: float
    language_model: str
    language_model_sha256: str


def words_table(runs: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """One `WordsRow` per run that was decoded to words, in the order of the runs.

    Args:
        runs: `orchestrator.tables.tables.runs_table`.
        records: run id → record; those without words are left out.
    """
    rows = []
    for run in runs.to_dict("records"):
        record = records.get(run["run_id"])
        facts = record.get("words") if record is not None else None
        if record is None or facts is None:
            continue
        is_beam = facts["decoder"] == "beam"
        configured = record["config"]["evaluation"]["words"]
        rows.append(
            WordsRow(
                run["run_id"],
                run["arm"],
                run["seed"],
                str(facts["decoder"]),
                run["wer"],
                run["wer_oracle"],
                run["out_of_vocabulary"],
                int(facts["n_reported"] or 0),
                int(facts["n_tuned"] or 0),
                _number(facts.get("lm_weight")),
                _number(facts.get("word_score")),
                _number(facts.get("blank_penalty")),
                _number(facts.get("lexicon_words")),
                str(configured["language_model"]) if is_beam else "",
                str(facts.get("language_model_sha256") or ""),
            )
        )
    return pd.DataFrame(rows, columns=WordsRow._fields)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
