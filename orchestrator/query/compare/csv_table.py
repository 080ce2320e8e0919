"""Tables of other tools as sides: which column is the metric, which are settings, what is said."""

import csv
import io
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoder.complaints import did_you_mean
from decoder.config import config_paths
from decoder.errors import ConfigError, StorageError
from decoder.import_forks import FORKS
from decoder.import_tables import squeeze
from orchestrator.history.reading.columns import EPOCH, STEP, column_names
from orchestrator.query.compare.sides import Row, Side, SideArm, make_arm
from orchestrator.query.compare.stored import Store, named_by_settings
from orchestrator.spec.units import RATES

_LARGEST_RATE = 2.0  # PER as a share; insertions can lift it above 1, but not this far
_LEVELS, _NAME = "_levels", "_name"  # keys of a row until its arm is made
_OF_OUTCOMES = ("collapsed", "diverged")
_LOWEST = frozenset({"bestper", "bestvalper", "minper", "lowestper"})
_NO_RESULT = (STEP, EPOCH, "lr", "grad_norm")  # of a course; in a table of runs they are settings
_SEEDS = frozenset({"seed", "randomseed", "rngseed"})
_NAMES = ("arm", "model", "method", "variant", "config", "configuration", "experiment", "name")
_IDS = frozenset({"runid", "run", "id"})
_OUTCOMES = frozenset({"outcome", "status", "state"})
_SPECIAL = {"seed": _SEEDS, "run_id": _IDS, "outcome": _OUTCOMES}
_ENDINGS = {  # squeezed word → outcome
    **dict.fromkeys(("ok", "finished", "done", "completed", "complete", "success"), "ok"),
    **dict.fromkeys(("diverged", "nan", "inf", "exploded"), "diverged"),
    **dict.fromkeys(("collapsed", "blank", "blankcollapse"), "collapsed"),
    **dict.fromkeys(("failed", "crashed", "error", "killed", "oom"), "failed"),
    **dict.fromkeys(("running", "missing", "pending", "unfinished"), "missing"),
}
_EMPTY = frozenset({"", "-", "–", "na", "n/a", "none", "null", "nan"})


@dataclass(frozen=True)
class Columns:
    """What the columns of a table were taken for: header → name of ours.

    Attributes:
        metrics: numbers that can be compared.
        settings: what makes a configuration.
        factors: ``factor.NAME`` columns, as our own tables have them.
        seed, name, run_id, outcome: headers; None where there is none.
        others: headers without a part in it.
    """

    metrics: Mapping[str, str]
    settings: Mapping[str, str]
    factors: Mapping[str, str]
    seed: str | None
    name: str | None
    run_id: str | None
    outcome: str | None
    others: tuple[str, ...]


def read_table(
    path: Path, store: Store, metric: str, on: Sequence[str], factors: Collection[str] = ()
) -> Side:
    """A CSV table as a side: one row a run, rows of equal settings one arm.

    The delimiter may be a comma, semicolon or tab, numbers may have a decimal comma where the
    delimiter is none, and percent signs; a rate that is written in percent is divided by 100,
    which is said. Rows whose ``run_id`` the store knows take from it what the table does not tell.

    Args:
        path: the file.
        store: the store.
        metric: what is to be compared: a name of ours, or a header.
        on: settings or headers that make an arm; empty takes every setting found, and names.
        factors: of the other sides; a header that is called like one tells its levels.

    Raises:
        ConfigError: no rows, no column for the metric, or none of a name in `on`.
        StorageError: it cannot be read.
    """
    headers, cells, decimal_comma = read_cells(path)
    table = [dict(zip(headers, row, strict=True)) for row in cells]
    values = {h: [setting_value(row[h], decimal_comma) for row in table] for h in headers}
    columns = map_columns(values, metric, on, factors)
    numeric = [
        header
        for header in columns.others
        if any(number(row.get(header, ""), decimal_comma) is not None for row in table)
    ]
    metrics = {**columns.metrics, **{header: header for header in numeric}}
    if metric not in (*metrics.values(), *_OF_OUTCOMES):
        raise ConfigError(
            f"{path}: no column was taken for '{metric}'{did_you_mean(metric, headers)}; choose "
            f"one with --metric (there are: {', '.join(headers)})"
        )
    in_percent, scales = _scales(table, metrics, decimal_comma)
    rows = [
        _completed(_row(path, at, row, columns, metrics, scales, decimal_comma), store, path)
        for at, row in enumerate(table, 2)
    ]
    arms = _arms(rows, columns, on)
    gaps = sum(row["outcome"] in ("failed", "missing") for row in rows)
    remarks = [_told(columns, metrics, metric), *in_percent]
    remarks += [f"{gaps} of {len(rows)} rows have no result"] if gaps else []
    return Side(path.name, "table", arms, None, tuple(remarks))


def read_cells(path: Path) -> tuple[list[str], list[list[str]], bool]:
    """Headers, cells and whether numbers have a decimal comma.

    Lines that begin with ``#``, empty lines, a byte order mark, and columns without a header are
    passed over; a header that comes twice gets a number.

    Raises:
        ConfigError: no header, or no row below it.
        StorageError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    first = next((line for line in text.splitlines() if not _is_empty(line)), "")
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise StorageError(f"{path}: cannot be read as a table: {error}") from None
    titles, *cells = [row for row in rows if not _is_empty(" ".join(row))] or [[]]
    if not cells:
        raise ConfigError(f"{path}: holds no table; a header and a row a run are needed")
    kept = [at for at, title in enumerate(titles) if title.strip()]
    headers: list[str] = []
    for at in kept:
        title = " ".join(_printable(titles[at]).split())
        n = sum(re.sub(r" #\d+$", "", header) == title for header in headers)
        headers.append(f"{title} #{n + 1}" if n else title)
    found = [[_printable(row[at]).strip() if at < len(row) else "" for at in kept] for row in cells]
    return headers, found, delimiter != ","


def _printable(text: str) -> str:
    """Without signs that a terminal would obey."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text)


def _is_empty(line: str) -> bool:
    """Whether a line holds no cell, or is a remark."""
    return not line.strip(" ,;\t\r\n") or line.lstrip().startswith("#")


def map_columns(
    table: Mapping[str, Sequence[Any]],
    metric: str,
    on: Sequence[str] = (),
    factors: Collection[str] = (),
) -> Columns:
    """What each column is, by its header; what `metric` and `on` name comes first.

    A table with ``run_id``, ``outcome`` and ``per`` is one of ours, whose numbers keep their
    names; in others the spellings of both official codebases and their forks are known.

    Args:
        table: header → its values, as `setting_value` has them.
        metric: what is to be compared.
        on: what is to make an arm.
        factors: of other sides.
    """
    headers = list(table)
    ours = {"run_id", "outcome", "per"} <= set(headers)
    known = {} if ours else column_names(headers)
    found: dict[str, dict[str, str]] = {"metric": {}, "setting": {}, "factor": {}, "special": {}}
    others = []
    named = (metric, *on, *factors)
    for header in sorted(headers, key=lambda header: header not in named):
        column = known.get(header)
        if column is not None and column not in _NO_RESULT and header not in named:
            role, name = "metric", column
        else:
            role, name = _role(header, table[header], metric, (*on, *factors), ours)
        if not role or name in found[role].values():
            others.append(header)
        else:
            found[role][header] = name
    special = {name: header for header, name in found["special"].items()}
    names = [header for name in _NAMES for header in others if squeeze(header) == name]
    special |= {"name": names[0]} if names else {}
    return Columns(
        metrics=found["metric"],
        settings=found["setting"],
        factors=found["factor"],
        seed=special.get("seed"),
        name=special.get("name"),
        run_id=special.get("run_id"),
        outcome=special.get("outcome"),
        others=tuple(h for h in headers if h in others and h != special.get("name")),
    )


def number(text: str, decimal_comma: bool = False) -> float | None:
    """The number in a cell; None where there is none that is finite."""
    bare = text.strip().rstrip("%").strip()
    if decimal_comma and "," in bare:
        bare = bare.replace(".", "").replace(",", ".")
    try:
        value = float(bare)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _role(
    header: str, values: Sequence[Any], metric: str, factors: Sequence[str], ours: bool
) -> tuple[str, str]:
    """The part a column has, and its name there; nothing for a column without one."""
    bare, last = squeeze(re.sub(r"\(.*?\)|\[.*?\]|%", "", header)), _last(header)
    if header in factors:
        return "factor", header
    if header == metric:
        return "metric", metric
    if header.startswith("factor."):
        return "factor", header.removeprefix("factor.")
    if header in config_paths():
        return "setting", header
    for kind, names in _SPECIAL.items():
        if bare in names:
            return "special", kind
    if ours:
        return "", ""
    if bare in _LOWEST:
        return "metric", "best_per"
    path = _spelled(last, values)
    return ("setting", path) if path else ("", "")


def _last(header: str) -> str:
    """``epsilon`` of ``config/optim.epsilon``."""
    return squeeze(re.split(r"[./]", header)[-1])


def _spelled(name: str, values: Sequence[Any]) -> str | None:
    """The field of ours that a squeezed name stands for, in our spelling or a fork's."""
    paths = [path for path in config_paths() if squeeze(path.partition(".")[2]) == name]
    if len(paths) == 1:
        return paths[0]
    for value in values:
        if fields := _fork_fields(name, value):
            return next(iter(fields))
    return None


def _fork_fields(name: str, value: Any) -> Mapping[str, Any]:
    return FORKS[name](value, {}).fields if name in FORKS else {}


def _scales(
    table: Sequence[Mapping[str, str]], metrics: Mapping[str, str], decimal_comma: bool
) -> tuple[list[str], dict[str, float]]:
    """What each rate is divided by, and a remark for those written in percent."""
    remarks, scales = [], {}
    for header, name in metrics.items():
        cells = [row.get(header, "") for row in table]
        values = [v for v in (number(cell, decimal_comma) for cell in cells) if v is not None]
        is_rate = name in (*RATES, "best_per") or "%" in header
        in_percent = "%" in header or any("%" in cell for cell in cells)
        if is_rate and (in_percent or max(values, default=0.0) > _LARGEST_RATE):
            scales[header] = 100.0
            remarks.append(f"'{header}' is read as percent and divided by 100")
    return remarks, scales


def _row(
    path: Path,
    at: int,
    cells: Mapping[str, str],
    columns: Columns,
    metrics: Mapping[str, str],
    scales: Mapping[str, float],
    decimal_comma: bool,
) -> dict[str, Any]:
    """One row of the table under our names."""
    values = {
        name: value / scales.get(header, 1.0)
        for header, name in metrics.items()
        if (value := number(cells.get(header, ""), decimal_comma)) is not None
    }
    settings = {}
    for header, name in columns.settings.items():
        value = setting_value(cells[header], decimal_comma)
        settings[name] = _fork_fields(_last(header), value).get(name, value)
    seed = number(cells.get(columns.seed or "", ""))
    word = squeeze(cells.get(columns.outcome or "", ""))
    has_result = bool(values)
    return {
        **values,
        **settings,
        "run_id": cells.get(columns.run_id or "") or f"line {at}",
        "seed": int(seed) if seed is not None and seed == int(seed) else None,
        "outcome": _ENDINGS.get(word, "ok" if has_result else "missing"),
        "provenance": "table",
        _LEVELS: {name: cells.get(header, "") for header, name in columns.factors.items()},
        _NAME: cells.get(columns.name or "", ""),
    }


def setting_value(cell: str, decimal_comma: bool = False) -> Any:
    """A cell as a number, a truth value, nothing, or its text."""
    value = number(cell, decimal_comma)
    if value is not None:
        return value
    return {"true": True, "false": False}.get(
        cell.lower(), None if cell.lower() in _EMPTY else cell
    )


def _completed(row: dict[str, Any], store: Store, path: Path) -> dict[str, Any]:
    """With what the store knows of a run that the table names; others get an id of their own."""
    if not store.known(row["run_id"]):
        return {**row, "run_id": f"{path}: {row['run_id']}"}
    (stored,) = store.rows([row["run_id"]])
    return {**stored, **row}


def _arms(rows: Sequence[Row], columns: Columns, on: Sequence[str]) -> tuple[SideArm, ...]:
    names = [row[_NAME] for row in rows]
    repeated = len(set(names)) < len(names)  # else every run has a name of its own
    settings = list(columns.settings.values())
    by_name = not on and columns.name is not None and (repeated or not settings)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        levels = row[_LEVELS]
        values = [levels.get(name, row.get(name)) for name in (on or [*levels, *settings])]
        key = [row[_NAME] if by_name else "", "" if on else row.get("config_id"), *values]
        groups.setdefault(json.dumps(key, default=str), []).append(row)
    arms = [
        make_arm(
            group[0][_NAME] if by_name else "",
            {name: level for name, level in group[0][_LEVELS].items() if level},
            [{k: v for k, v in row.items() if k not in (_LEVELS, _NAME)} for row in group],
        )
        for group in groups.values()
    ]
    if all(arm.name for arm in arms) and len({arm.name for arm in arms}) == len(arms):
        return tuple(arms)
    return named_by_settings(arms) if len(arms) > 1 else (arms[0]._replace(name="all rows"),)


def _told(columns: Columns, metrics: Mapping[str, str], metric: str) -> str:
    source = next((header for header, name in metrics.items() if name == metric), None)
    parts = [f"'{source}' is {metric}"] if source and source != metric else []
    parts += [
        f"'{header}' is {path}" for header, path in columns.settings.items() if header != path
    ]
    parts += [] if columns.seed else ["no column tells the seed"]
    unused = [header for header in columns.others if header not in metrics]
    parts += [f"not used: {', '.join(unused)}"] if unused else []
    return "; ".join(parts) or "every column is used under its name"
