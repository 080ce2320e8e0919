"""From the names on a command line to the comparison of what they name."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from decoder.collapse import CollapseThresholds
from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.query.compare.comparison import Comparison, ComparisonOptions, compare_sides
from orchestrator.query.compare.csv_table import read_table
from orchestrator.query.compare.imported_runs import read_imported_runs
from orchestrator.query.compare.sides import Side
from orchestrator.query.compare.stored_runs import IndexedStore, read_stored
from orchestrator.spec.names import listed
from orchestrator.store.paths import Results
from orchestrator.tables.index import open_index
from orchestrator.terminal import Say

_TABLES = (".csv", ".tsv")


def compare_named(
    texts: Sequence[str], results: Results, options: ComparisonOptions, say: Say
) -> Comparison:
    """Read what each text names, and compare it with the first.

    Collapse is judged on every side by the thresholds of the first side that has any.

    Args:
        texts: at least two, see `read_side`.
        say: receives a line for each record that cannot be trusted.

    Raises:
        ConfigError, StorageError: see `read_side` and `compare_sides`.
    """
    if len(texts) < 2:
        raise ConfigError("compare: needs two or more things, such as two ablations")
    store = IndexedStore(results, open_index(results, say), say)
    read: dict[str, Side] = {}
    for text in sorted(texts, key=_is_table):  # tables last: headers may name the others' factors
        factors = dict.fromkeys(f for side in read.values() for a in side.arms for f in a.levels)
        if text not in read:
            read[text] = read_side(text, store, options, say, factors)
    sides = [read[text] for text in texts]
    judged = [(side.label, side.thresholds) for side in sides if side.thresholds is not None]
    label, thresholds = judged[0] if judged else ("", CollapseThresholds())
    if thresholds != CollapseThresholds():
        sides = [store.judged(side, thresholds) for side in sides]
    comparison = compare_sides(sides, options)
    others = [other for other, own in judged if own != thresholds]
    if not others:
        return comparison
    remark = (
        f"Collapse is judged on every side by the thresholds of {label} "
        f"({thresholds.emitted_ratio:g} of the target length, {thresholds.n_distinct} phonemes, "
        f"{thresholds.n_evaluations} evaluations); {', '.join(others)} declares other thresholds."
    )
    return replace(comparison, remarks=(*comparison.remarks, remark))


def read_side(
    text: str,
    store: IndexedStore,
    options: ComparisonOptions,
    say: Say,
    factors: Collection[str] = (),
) -> Side:
    """The side that a text names.

    Args:
        text: an ablation or a search, ``NAME:ARM``, run ids with commas between, a CSV file, a
            folder of runs trained elsewhere, or the name of an import.
        options: tables need the metric and the columns to join on.
        factors: factors of the other sides, for tables.

    Raises:
        ConfigError: it names nothing; or see the readers.
    """
    if _is_table(text):
        return read_table(Path(text), store, options.metric, options.on, factors)
    side = read_stored(text, store) or read_imported_runs(text, store.results, say)
    if side is not None:
        return side
    planned = (plan.parent.name for plan in store.results.ablations.glob("*/plan.json"))
    results = store.results
    known = sorted({*planned, *results.judgements(), *results.searches()})
    raise ConfigError(
        f"{text}: is no ablation or search in {store.results.root}{did_you_mean(text, known)} "
        f"(there are: {listed(known)}), no run id, no CSV file and no folder"
    )


def _is_table(text: str) -> bool:
    return Path(text).suffix.lower() in _TABLES
