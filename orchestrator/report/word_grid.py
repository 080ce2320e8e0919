"""The table of a report about decoding to words: errors by kind, and the weights of the search."""

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from decoder.pack import WORD_COLUMNS
from orchestrator.report.grids import Grid, titled_grid
from orchestrator.spec.units import number, percent
from orchestrator.stats.run_values import COUNTED

_WEIGHTS = {
    "lm_weight": "language-model weight",
    "word_score": "word score",
    "blank_penalty": "blank penalty",
}
_KINDS = {
    "n_word_edits": "WER",
    "n_word_edits_oracle": "best of the beam",
    "n_word_substitutions": "substituted",
    "n_word_deletions": "deleted",
    "n_word_insertions": "inserted",
}


def words_grid(runs: pd.DataFrame, words: pd.DataFrame) -> Grid | None:
    """One row per arm, over its runs that were decoded to words; None if there are none.

    Rates are sums over the seeds of the arm, without runs that diverged, which were not decoded.

    Args:
        runs: `orchestrator.tables.tables.runs_table`.
        words: `orchestrator.tables.words.words_table`; a weight that several seeds chose stands
            with their number.
    """
    if words.empty or not set(WORD_COLUMNS) <= set(runs.columns):
        return None
    counted = runs[runs["outcome"].isin(COUNTED) & (runs["n_reference_words"] > 0)]
    rows = []
    for arm, of_arm in counted.groupby("arm", sort=False):
        sums = of_arm[[*_KINDS, "n_reference_words"]].sum()
        n_words = float(sums["n_reference_words"])
        # The same half and the same words for each seed.
        unknown = float((of_arm["out_of_vocabulary"] * of_arm["n_reference_words"]).sum())
        facts = words[words["run_id"].isin(of_arm["run_id"])]
        rows.append(
            {
                "arm": str(arm),
                **{title: percent(float(sums[name]) / n_words) for name, title in _KINDS.items()},
                "outside the lexicon": percent(unknown / n_words),
                **{title: _chosen(facts[name]) for name, title in _WEIGHTS.items()},
                "trials that chose, that count": _different(
                    f"{tuned}, {reported}"
                    for tuned, reported in facts[["n_tuned", "n_reported"]].to_numpy().tolist()
                ),
                "words of the lexicon": _different(
                    f"{n:,.0f}" for n in facts["lexicon_words"].dropna().tolist()
                ),
                "language model": _different(
                    f"{name} {sha256[:8]}".strip()
                    for name, sha256 in facts[
                        ["language_model", "language_model_sha256"]
                    ].to_numpy()
                ),
            }
        )
    return titled_grid(rows, ("arm", *_WEIGHTS.values(), "language model")) if rows else None


def _chosen(weights: "pd.Series[float]") -> str:
    """The values of a weight over the seeds, frequent ones first: ``1.5 (3), 2 (1)``."""
    found = Counter(number(value, 2) for value in weights.dropna().tolist()).most_common()
    one = len(found) == 1
    return ", ".join(text if one else f"{text} ({n})" for text, n in found) or "–"


def _different(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts))) or "–"
