"""Sides from tables of other tools: what each column holds, and one run per row."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from decoder.complaints import did_you_mean
from decoder.config import config_paths
from decoder.errors import ConfigError
from decoder.import_tables import squeeze
from orchestrator.history.reading.columns import percent_reason
from orchestrator.query.compare.column_roles import (
    ColumnRoles,
    assign_roles,
    fork_fields,
    last_word,
)
from orchestrator.query.compare.sides import Side, SideArm, make_arm
from orchestrator.query.compare.stored_runs import IndexedStore, named_by_settings
from orchestrator.query.compare.table_cells import read_cells
from orchestrator.query.compare.table_checks import check_table
from orchestrator.spec.names import listed
from orchestrator.spec.units import RATES
from orchestrator.stats.run_values import DIVERGED_PER
from orchestrator.tables.run_row import RunRow

_OF_OUTCOMES = ("collapsed", "diverged")
_ENDINGS = {  # squeezed word → outcome
    **dict.fromkeys(("ok", "finished", "done", "completed", "complete", "success"), "ok"),
    **dict.fromkeys(("diverged", "nan", "inf", "exploded"), "diverged"),
    **dict.fromkeys(("collapsed", "blank", "blankcollapse"), "collapsed"),
    **dict.fromkeys(("failed", "crashed", "error", "killed", "oom"), "failed"),
    **dict.fromkeys(("running", "missing", "pending", "unfinished", "notneeded"), "missing"),
}
_EMPTY = frozenset({"", "-", "–", "na", "n/a", "none", "null", "nan"})


def read_table(
    path: Path,
    store: IndexedStore,
    metric: str,
    on: Sequence[str],
    factors: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> Side:
    """A CSV table as a side: one run per row; rows of equal settings make an arm.

    The delimiter may be a comma, a semicolon or a tab. Numbers may have percent signs, and a
    decimal comma if the delimiter is no comma. A rate in percent is divided by 100, and a remark
    says so. A row whose ``run_id`` is in the store takes the missing columns from there.

    Args:
        metric: the metric to compare: a name of ours, or a header.
        on: settings or headers that make an arm; empty takes every setting, and names.
        factors: factors of the other sides; a column of such a name holds levels.
        renamed: header → the name by which the column is known instead.

    Raises:
        ConfigError: see `read_cells` and `check_table`; or no column for the metric, or none of a
            name in `on`.
        StorageError: see `read_cells`.
    """
    headers, cells, decimal_comma = read_cells(path)
    headers = [(renamed or {}).get(header, header) for header in headers]
    texts = [dict(zip(headers, row, strict=True)) for row in cells]
    values = [{h: setting_value(cell, decimal_comma) for h, cell in row.items()} for row in texts]
    roles = assign_roles({h: [row[h] for row in values] for h in headers}, metric, on, factors)
    if metric not in (*roles.metrics.values(), *_OF_OUTCOMES):
        raise ConfigError(
            f"{path}: no column holds '{metric}'{did_you_mean(metric, headers)}; choose one with "
            f"--metric (there are: {listed(header[:40] for header in headers)})"
        )
    check_table(path, metric, roles, texts, values)
    rates = [header for header, name in roles.metrics.items() if name in RATES]
    in_percent = {
        header: why
        for header in roles.metrics
        if (why := "%" in header or (header in rates and _says_percent(header, texts, values)))
    }
    rows = [
        _row(path, line, *pair, roles, in_percent, store)
        for line, pair in enumerate(zip(texts, values, strict=True), 2)
    ]
    runs = [row.runs[0] for row in rows]
    n_without = sum(
        run.outcome in ("failed", "missing")
        or (metric in roles.metrics.values() and run.number(metric) is None)
        for run in runs
    )
    remarks = [_roles_text(roles, metric, on, values)]
    remarks += [
        f"'{header}' is read as percent and divided by 100"
        + (f": {why}" if isinstance(why, str) and "mix" in why else "")
        for header, why in in_percent.items()
    ]
    remarks += [f"{n_without} of {len(rows)} rows have no result"] if n_without else []
    return Side(path.name, _arms(rows, roles, on), None, tuple(remarks))


def _says_percent(
    header: str, texts: Sequence[Mapping[str, str]], rows: Sequence[Mapping[str, JsonValue]]
) -> str | bool:
    """Why a column of rates is in percent: a sign, or all of its values together."""
    values = [value for row in rows if isinstance(value := row[header], float)]
    return any("%" in row[header] for row in texts) or percent_reason(values, in_order=False)


def number(text: str, decimal_comma: bool = False) -> float | None:
    """The number in a cell; None if there is none, or it is not finite."""
    bare = text.strip().rstrip("%").strip()
    if decimal_comma and "," in bare:
        bare = bare.replace(".", "").replace(",", ".")
    try:
        value = float(bare)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_whole(value: float) -> bool:
    """Whether a number is a whole one that a float holds exactly."""
    return value.is_integer() and abs(value) < 2**53


def setting_value(cell: str, decimal_comma: bool = False) -> JsonValue:
    """A cell as a number, a truth value, a list in brackets, None if it is empty, or its text."""
    value, word = number(cell, decimal_comma), cell.lower()
    if value is not None or word in _EMPTY:
        return value
    if cell.startswith("[") and cell.endswith("]"):  # as our own tables write lists
        with suppress(ValueError, RecursionError):
            listed_values: JsonValue = json.loads(cell)
            return listed_values
    return {"true": True, "false": False}.get(word, cell)


def _row(
    path: Path,
    line: int,
    cells: Mapping[str, str],
    values: Mapping[str, JsonValue],
    roles: ColumnRoles,
    in_percent: Collection[str],
    store: IndexedStore,
) -> SideArm:
    """A row of the table as an arm of one run, completed by what the store has of the run."""
    results = {
        name: value / 100.0 if header in in_percent else value
        for header, name in roles.metrics.items()
        if isinstance(value := values[header], float)
    }
    settings = {
        name: fork_fields(last_word(header), values[header]).get(name, values[header])
        for header, name in roles.settings.items()
    }
    special = {kind: cells[header] for kind, header in roles.special.items()}
    seed = values.get(roles.special.get("seed", ""))
    word = squeeze(special.get("outcome", ""))
    run_id = special.get("run_id") or f"line {line}"
    known = store.runs([run_id])[0] if store.has(run_id) else RunRow(f"{path}: {run_id}")
    version = results.pop("numerics_version", None)
    outcome = _ENDINGS.get(word, "ok" if results else "missing")
    if outcome == "diverged":  # the table need not say what such a run counts as
        results |= dict.fromkeys({"per", "per_beam"} & {*roles.metrics.values()}, DIVERGED_PER)
    run = known._replace(
        numerics_version=int(version)
        if version is not None and is_whole(version)
        else known.numerics_version,
        outcome=outcome,
        seed=int(seed) if isinstance(seed, float) and is_whole(seed) else None,
        results={**known.results, **results},
        settings={**known.settings, **settings},
    )
    levels = {name: cells[header] for header, name in roles.factors.items() if cells[header]}
    return make_arm(special.get("name", ""), levels, [run])


def _arms(rows: Sequence[SideArm], roles: ColumnRoles, on: Sequence[str]) -> tuple[SideArm, ...]:
    """The arms that rows of equal settings make."""
    settings = list(roles.settings.values())
    by_name = not on and "name" in roles.special and _are_arm_names(rows, settings)
    groups: dict[str, list[SideArm]] = {}
    for row in rows:
        (run,) = row.runs
        known = {**run.results, **run.settings, **row.levels}
        values = [known.get(name) for name in (on or [*roles.factors.values(), *settings])]
        key = [row.name if by_name else "", "" if on else run.config_id, *values]
        groups.setdefault(json.dumps(key, default=str), []).append(row)
    arms = [
        make_arm(group[0].name if by_name else "", group[0].levels, [row.runs[0] for row in group])
        for group in groups.values()
    ]
    if all(arm.name for arm in arms) and len({arm.name for arm in arms}) == len(arms):
        return tuple(arms)
    return named_by_settings(arms) if len(arms) > 1 else (arms[0]._replace(name="all rows"),)


def _are_arm_names(rows: Sequence[SideArm], settings: Sequence[str]) -> bool:
    """Whether the names of rows are those of arms, rather than each of one run."""
    if len({row.name for row in rows}) < len(rows) or not settings:
        return True
    if any(name in config_paths() for name in settings):
        return False
    values = {json.dumps([row.config.get(name) for name in settings]) for row in rows}
    return len(values) == len(rows)


def _roles_text(
    roles: ColumnRoles, metric: str, on: Sequence[str], rows: Sequence[Mapping[str, JsonValue]]
) -> str:
    """What became of the columns, as far as a header does not say it."""
    source = {header: name for header, name in roles.metrics.items() if name == metric}
    renamed = {**source, **roles.settings}
    parts = [f"'{header}' is {name}" for header, name in renamed.items() if header != name]
    parts += [] if "seed" in roles.special else ["no column holds the seed"]
    if not on:
        own = [header for header, name in roles.settings.items() if header == name]
        made = [h for h in own if h not in config_paths() and _varies(h, rows)]
        parts += [f"make arms, as they vary: {listed(h[:40] for h in made)}"] if made else []
    numbers = [h for h, name in roles.metrics.items() if h == name != metric and _varies(h, rows)]
    text = "taken as results, and make no arms"
    parts += [f"{text}: {listed(h[:40] for h in numbers)}"] if numbers else []
    parts += [f"not used: {listed(header[:40] for header in roles.others)}"] if roles.others else []
    return "; ".join(parts) or "every column is used under its name"


def _varies(header: str, rows: Sequence[Mapping[str, JsonValue]]) -> bool:
    return len({str(row[header]) for row in rows}) > 1
