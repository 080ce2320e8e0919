"""Where the errors of an ablation's runs lie: by session and by phoneme, at the last evaluation."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from decoder.phonemes import BLANK, CLASSES
from orchestrator.stats.run_values import COUNTED
from orchestrator.tables.run_columns import Record

NOTHING = "–"  # on the side of the alignment that has no phoneme

SESSION_COLUMNS = ("run_id", "arm", "seed", "session", "n_edits", "n_reference", "per")
CONFUSION_COLUMNS = ("arm", "reference", "emitted", "n", "share")


def sessions_table(runs: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """PER of every run in every session it was evaluated on.

    Args:
        runs: `orchestrator.tables.tables.runs_table`; runs without a result are left out.
        records: run id → record; older ones do not tell their sessions and are left out.

    Returns:
        One row a run and session, in the order of the runs, then of the days.
    """
    rows = []
    for run, record in _with_result(runs, records):
        for session, (n_edits, n_reference) in (record.get("per_session") or {}).items():
            per = n_edits / n_reference if n_reference else float("nan")
            rows.append(
                (run["run_id"], run["arm"], run["seed"], session, n_edits, n_reference, per)
            )
    return pd.DataFrame(rows, columns=list(SESSION_COLUMNS))


def confusions_table(runs: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """How often each phoneme was emitted for each phoneme of the reference, over an arm's seeds.

    Args:
        runs: `orchestrator.tables.tables.runs_table`; runs without a result are left out.
        records: run id → record; older ones do not tell their confusions and are left out.

    Returns:
        One row an arm and pair that occurs, in the order of the arms, the pairs by classes;
        `NOTHING` for a reference is an insertion, for what is emitted a deletion. ``share`` is
        of all occurrences of the reference phoneme, for insertions of all reference phonemes.
    """
    counts: dict[str, dict[tuple[int, int], int]] = {}
    for run, record in _with_result(runs, records):
        of_arm = counts.setdefault(run["arm"], {})
        for reference, emitted, n in record.get("confusions") or ():
            of_arm[reference, emitted] = of_arm.get((reference, emitted), 0) + n
    rows = []
    for arm, pairs in counts.items():
        totals: dict[int, int] = {}
        for (reference, _), n in pairs.items():
            totals[reference] = totals.get(reference, 0) + n
        n_reference = sum(n for reference, n in totals.items() if reference != BLANK)
        for (reference, emitted), n in sorted(pairs.items()):
            whole = n_reference if reference == BLANK else totals[reference]
            share = n / whole if whole else float("nan")
            rows.append((arm, _name(reference), _name(emitted), n, share))
    return pd.DataFrame(rows, columns=list(CONFUSION_COLUMNS))


def _with_result(
    runs: pd.DataFrame, records: Mapping[str, Record]
) -> Iterator[tuple[dict[Any, Any], Record]]:
    for run in runs[runs["outcome"].isin(COUNTED)].to_dict("records"):
        yield run, records[run["run_id"]]


def _name(phoneme: int) -> str:
    return NOTHING if phoneme == BLANK else CLASSES[phoneme]
