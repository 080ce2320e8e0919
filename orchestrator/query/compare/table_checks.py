"""Tables that cannot be compared, refused with what to correct."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import JsonValue

from decoder.errors import ConfigError
from orchestrator.history.reading.columns import EPOCH, PER, STEP, allowed_range, column_names
from orchestrator.query.compare.column_roles import ColumnRoles
from orchestrator.spec.units import RATES

Values = Sequence[Mapping[str, JsonValue]]
Texts = Sequence[Mapping[str, str]]

_MOST_PROBLEMS = 20
_FEWEST_GAPS = 2  # between the steps of a learning curve


def check_table(path: Path, metric: str, roles: ColumnRoles, texts: Texts, values: Values) -> None:
    """Refuse a table whose rows are not one run each, or whose results are no usable numbers.

    Args:
        path: of the table.
        metric: the metric to compare.
        roles: of its columns.
        texts: header → cell, of each row.
        values: the same cells as values, see `csv_table.setting_value`.

    Raises:
        ConfigError: the column of the metric holds no number; some of its rates have a percent sign
            and others do not; the rows are the steps of a learning curve; or a number is one that
            no run can have.
    """
    _check_holds_numbers(path, metric, roles, texts, values)
    _check_one_row_per_run(path, roles, values)
    _check_units(path, roles, texts, values)
    _check_range(path, roles, values)


def _check_holds_numbers(
    path: Path, metric: str, roles: ColumnRoles, texts: Texts, values: Values
) -> None:
    """Refuse a column of the metric that only holds text, such as ``21.0 ± 0.3``."""
    for header in [header for header, name in roles.metrics.items() if name == metric]:
        words = [
            text[header]
            for text, value in zip(texts, values, strict=True)
            if isinstance(value[header], str)
        ]
        if words and not any(isinstance(row[header], float) for row in values):
            raise ConfigError(
                f"{path}: '{header[:40]}' holds no number, but text such as '{words[0][:40]}'; "
                "write one number in a cell, and one row per run"
            )


def _check_one_row_per_run(path: Path, roles: ColumnRoles, values: Values) -> None:
    """Refuse a learning curve, whose rows would count as repeats."""
    for header in roles.metrics:
        if column_names([header]).get(header) not in (STEP, EPOCH):
            continue
        of_run: dict[str, list[float]] = {}
        for row in values:
            if isinstance(step := row[header], float):
                key = json.dumps([row[name] for name in row if name not in roles.metrics])
                of_run.setdefault(key, []).append(step)
        if any(map(_are_steps, of_run.values())):
            raise ConfigError(
                f"{path}: has one row per {header[:40]}, and not per run; keep the last row of "
                "each run, read learning curves with `import-runs`, or make it a setting with --on"
            )


def _are_steps(values: Sequence[float]) -> bool:
    """Whether numbers rise by equal steps, as those of a learning curve do."""
    gaps = [later - earlier for earlier, later in pairwise(values)]
    return len(gaps) >= _FEWEST_GAPS and gaps[0] > 0 and set(gaps) == {gaps[0]}


def _check_units(path: Path, roles: ColumnRoles, texts: Texts, values: Values) -> None:
    """Refuse a column of which some cells have a percent sign and others seem to be rates."""
    for header, name in roles.metrics.items():
        if name not in RATES or "%" in header:
            continue
        signed = [text[header] for text in texts if "%" in text[header]]
        rates = [
            text[header]
            for text, value in zip(texts, values, strict=True)
            if "%" not in text[header]
            and isinstance(number := value[header], float)
            and 0 < number <= 1
        ]
        if signed and rates:
            raise ConfigError(
                f"{path}: '{header[:40]}' has a value with a percent sign ({signed[0][:20]}) and a "
                f"rate without one ({rates[0][:20]}); write all of them in one unit"
            )


def _check_range(path: Path, roles: ColumnRoles, values: Values) -> None:
    """Refuse numbers that no run can have, such as a PER of -1 or a loss of 1e306."""
    problems = []
    for number, row in enumerate(values, 1):
        for header, name in roles.metrics.items():
            value = row[header]
            allowed = (
                allowed_range(PER if name in RATES else name, value)
                if isinstance(value, float)
                else ""
            )
            if allowed:
                problems.append(
                    f"{path}: row {number}: '{header[:40]}' is {value:.6g}, but must be "
                    f"{allowed}; correct it, or leave the cell empty"
                )
    if problems:
        n_more = len(problems) - _MOST_PROBLEMS
        raise ConfigError(
            problems[:_MOST_PROBLEMS] + ([f"and {n_more:,} more"] if n_more > 0 else [])
        )
