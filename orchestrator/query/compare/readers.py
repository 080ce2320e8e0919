"""What a command line names → a side: a thing of the store, or a file of another tool."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from decoder.collapse import CollapseThresholds
from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.query.compare.comparison import Comparison, Options, compare
from orchestrator.query.compare.csv_table import read_table
from orchestrator.query.compare.imported import read_foreign_runs
from orchestrator.query.compare.sides import Side
from orchestrator.query.compare.stored import Store, read_stored
from orchestrator.store.paths import Results
from orchestrator.tables.index import open_index
from orchestrator.terminal import Say

_TABLES = (".csv", ".tsv")
_PLANS = "*/*/plan.json"


def read_side(
    text: str,
    store: Store,
    metric: str,
    on: Sequence[str],
    say: Say,
    factors: Collection[str] = (),
) -> Side:
    """The side that a text names.

    Args:
        text: an ablation or a search, ``NAME:ARM``, run ids with commas between, a CSV file, a
            folder of runs trained elsewhere, or the name of one that was imported.
        store: the results folder.
        metric: what is to be compared, for tables.
        on: what makes an arm, for tables.
        say: receives a line for each record that cannot be read.
        factors: of the other sides, for tables.

    Raises:
        ConfigError: it names nothing; or see the readers.
    """
    path = Path(text)
    if _is_table(text):
        return read_table(path, store, metric, on, factors)
    side = read_stored(text, store) or read_foreign_runs(text, store, say)
    if side is not None:
        return side
    known = sorted(plan.parent.name for plan in store.results.root.glob(_PLANS))
    raise ConfigError(
        f"{text}: is no ablation or search in {store.results.root}{did_you_mean(text, known)} "
        f"(there are: {', '.join(known[:12]) or 'none'}{', ...' if len(known) > 12 else ''}), "
        "no run id, no CSV file and no folder"
    )


def _is_table(text: str) -> bool:
    return Path(text).suffix.lower() in _TABLES


def compare_named(texts: Sequence[str], results: Results, options: Options, say: Say) -> Comparison:
    """Read what was named and hold it beside the first.

    Collapse is judged by the thresholds of the first side that has some, on every side.

    Args:
        texts: two or more, see `read_side`.
        results: the results folder.
        options: how.
        say: receives a line for each record that cannot be trusted.

    Raises:
        ConfigError, StorageError: see `read_side` and `comparison.compare`.
    """
    if len(texts) < 2:
        raise ConfigError("compare: needs two or more things, such as two ablations")
    store = Store(results, open_index(results, say), say)
    read: dict[str, Side] = {}
    for text in sorted(texts, key=_is_table):  # tables last: headers may be factors of the others
        factors = dict.fromkeys(f for side in read.values() for a in side.arms for f in a.levels)
        if text not in read:
            read[text] = read_side(text, store, options.metric, options.on, say, factors)
    sides = [read[text] for text in texts]
    named = [(side.label, side.thresholds) for side in sides if side.thresholds is not None]
    if not named:
        return compare(sides, options)
    label, thresholds = named[0]
    if thresholds != CollapseThresholds():
        sides = [store.judged(side, thresholds) for side in sides]
    found = compare(sides, options)
    others = [other for other, own in named if own != thresholds]
    if not others:
        return found
    remark = (
        f"Collapse is judged by the thresholds of {label} ({thresholds.emitted_ratio:g} of the "
        f"target's length, {thresholds.n_distinct} phonemes, {thresholds.n_evaluations} "
        f"evaluations) everywhere; {', '.join(others)} has others of its own."
    )
    return replace(found, remarks=(*found.remarks, remark))
