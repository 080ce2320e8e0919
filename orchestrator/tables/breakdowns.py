"""The errors of an ablation's runs at the last evaluation, by session and by phoneme."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pandas as pd

from decoder.phonemes import BLANK, CLASSES
from orchestrator.stats.run_values import COUNTED
from orchestrator.store.record import Record

NOTHING = "–"  # stands where one side of the alignment has no phoneme


class SessionRow(NamedTuple):
    """One run in one session; ``per`` is NaN if the session has no reference phonemes."""

    run_id: str
    arm: str
    seed: int
    session: str
    n_edits: int
    n_reference: int
    per: float


class HeldOutRow(NamedTuple):
    """One run in one session that trained nothing; ``days`` from the nearest trained session.

    ``days`` is negative if that is the later one, and NaN if the names hold no dates.
    """

    run_id: str
    arm: str
    seed: int
    session: str
    days: float
    n_edits: int
    n_reference: int
    per: float


class ConfusionRow(NamedTuple):
    """How often an arm emits one phoneme for another; see `confusions_table`."""

    arm: str
    reference: str
    emitted: str
    n: int
    share: float


def sessions_table(runs: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """PER of every run in every session it was evaluated on.

    Args:
        runs: `orchestrator.tables.tables.runs_table`; runs without a result are left out.
        records: run id → record; older records hold no sessions and are left out.

    Returns:
        One `SessionRow` per run and session, in the order of the runs, then of the days.
    """
    rows = []
    for run_id, arm, seed, record in _with_result(runs, records):
        for session, (n_edits, n_reference) in (record.get("per_session") or {}).items():
            per = n_edits / n_reference if n_reference else float("nan")
            rows.append(SessionRow(run_id, arm, seed, session, n_edits, n_reference, per))
    return pd.DataFrame(rows, columns=SessionRow._fields)


def held_out_table(runs: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """PER of every run in every session held out, see ``data.held_out_sessions``.

    Args:
        runs: `orchestrator.tables.tables.runs_table`; runs without a result are left out.
        records: run id → record; those of runs without such sessions are left out.

    Returns:
        One `HeldOutRow` per run and session, in the order of the runs, then of the days.
    """
    rows = []
    for run_id, arm, seed, record in _with_result(runs, records):
        for session, errors in (record.get("held_out") or {}).items():
            n_edits, n_reference, days = errors["n_edits"], errors["n_reference"], errors["days"]
            per = n_edits / n_reference if n_reference else float("nan")
            distance = float("nan") if days is None else float(days)
            rows.append(HeldOutRow(run_id, arm, seed, session, distance, n_edits, n_reference, per))
    return pd.DataFrame(rows, columns=HeldOutRow._fields)


def confusions_table(runs: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """How often each phoneme was emitted for each reference phoneme, summed over an arm's seeds.

    Args:
        runs: `orchestrator.tables.tables.runs_table`; runs without a result are left out.
        records: run id → record; older records hold no confusions and are left out.

    Returns:
        One `ConfusionRow` per arm and pair that occurs, in the order of the arms, then of the
        classes. An insertion has `NOTHING` as its reference, a deletion `NOTHING` as what is
        emitted. ``share`` divides by the occurrences of the reference phoneme, for insertions by
        all reference phonemes.
    """
    counts: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for _, arm, _, record in _with_result(runs, records):
        for reference, emitted, n in record.get("confusions") or ():
            counts[arm][reference, emitted] += n
    rows = []
    for arm, pairs in counts.items():
        totals = Counter[int]()
        for (reference, _), n in pairs.items():
            totals[reference] += n
        n_reference = totals.total() - totals[BLANK]
        for (reference, emitted), n in sorted(pairs.items()):
            whole = n_reference if reference == BLANK else totals[reference]
            share = n / whole if whole else float("nan")
            rows.append(ConfusionRow(arm, _name(reference), _name(emitted), n, share))
    return pd.DataFrame(rows, columns=ConfusionRow._fields)


def _with_result(
    runs: pd.DataFrame, records: Mapping[str, Record]
) -> Iterator[tuple[str, str, int, Record]]:
    """(run id, arm, seed, record) of every run with a result."""
    counted = runs[runs["outcome"].isin(COUNTED)]
    columns = (counted[name].tolist() for name in ("run_id", "arm", "seed"))
    for run_id, arm, seed in zip(*columns, strict=True):
        if run_id in records:  # the store has none of runs that were trained elsewhere
            yield run_id, arm, seed, records[run_id]


def _name(phoneme: int) -> str:
    return NOTHING if phoneme == BLANK else CLASSES[phoneme]
