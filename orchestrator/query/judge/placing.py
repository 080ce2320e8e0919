"""Which run is which arm and which block; what cannot be paired is refused."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from decoder.errors import ConfigError
from orchestrator.query.conditions import Condition, check_against, parse_condition
from orchestrator.query.judge.candidates import Candidate
from orchestrator.query.judge.claims_file import ClaimsFile
from orchestrator.spec.cells import crossed_id
from orchestrator.spec.names import hint, listed
from orchestrator.tables.run_row import Cells, varying_paths

_MOST_SEED = 2**32
_MOST_NAMED = 5


class PlacedRun(NamedTuple):
    """A run with its arm and its block."""

    candidate: Candidate
    arm: str
    block: int


class Placement(NamedTuple):
    """The runs in their arms.

    Attributes:
        arms: arm → its level of every factor, for the arms that have a run.
        runs: one per arm and block, in the order of the arms, then of the blocks.
        blocks: every block.
        block_names: number of a block → its name, where the two differ.
        asked: factor → the columns that its conditions ask about.
        remarks: which runs were left out.
    """

    arms: Mapping[str, Mapping[str, str]]
    runs: tuple[PlacedRun, ...]
    blocks: tuple[int, ...]
    block_names: Mapping[str, str]
    asked: Mapping[str, frozenset[str]]
    remarks: tuple[str, ...]

    def of_arm(self, arm: str) -> list[PlacedRun]:
        """The runs of one arm."""
        return [run for run in self.runs if run.arm == arm]


def place(claims: ClaimsFile, candidates: Sequence[Candidate], path: Path) -> Placement:
    """Put every run in its arm and its block.

    Args:
        path: the claims file, for messages.

    Raises:
        ConfigError: a condition cannot be parsed or no run meets it, a run meets two levels of a
            factor, has no block, or shares its arm and block with another run.
    """
    columns = dict.fromkeys(name for candidate in candidates for name in candidate.cells)
    cells = [{**dict.fromkeys(columns), **candidate.cells} for candidate in candidates]
    reader = _Reader(path, list(columns), cells)
    if claims.where is None:
        inside = list(range(len(cells)))
    else:
        inside = reader.meeting("where", claims.where, range(len(cells)))
    levels_of = {
        factor: {
            level: set(reader.meeting(f"factors.{factor}.{level}", text, inside))
            for level, text in levels.items()
        }
        for factor, levels in claims.factors.items()
    }
    blocks, names = _blocks(claims, reader, inside)
    reader.refuse()
    placed: dict[tuple[str, int], list[int]] = {}
    cells_of_arms = _arms(claims)
    n_outside, problems = 0, list[str]()
    for at in inside:
        found = {
            factor: [level for level, members in levels.items() if at in members]
            for factor, levels in levels_of.items()
        }
        for factor, levels in found.items():
            if len(levels) > 1:
                problems.append(
                    f"{path}: factors.{factor}: run {candidates[at].run.run_id} meets the "
                    f"conditions of {' and '.join(levels)}; narrow one of them"
                )
        if not all(len(levels) == 1 for levels in found.values()):
            n_outside += 1
            continue
        block = blocks[at]
        if block is None:
            problems.append(
                f"{path}: block: run {candidates[at].run.run_id} has no "
                f"{claims.block if isinstance(claims.block, str) else 'block'}; name a column that "
                "every run has, or give each block a condition"
            )
        elif claims.blocks is None or block in claims.blocks:
            cell = {factor: levels[0] for factor, levels in found.items()}
            arm = next(arm for arm, own in cells_of_arms.items() if own == cell)
            placed.setdefault((arm, block), []).append(at)
    problems += _doubles(placed, candidates, path)
    if problems:
        raise ConfigError(problems)
    arms = {arm: cell for arm, cell in cells_of_arms.items() if any(arm == a for a, _ in placed)}
    numbers = sorted({block for _, block in placed})
    settings_of = {n: s for candidate in candidates for n, s in candidate.settings_of.items()}
    remarks = []
    if n_where := len(cells) - len(inside):
        remarks.append(f"{n_where} of {len(cells)} runs do not meet 'where'")
    if n_outside:
        remarks.append(f"{n_outside} of {len(cells)} runs are in no arm")
    return Placement(
        arms,
        tuple(
            PlacedRun(candidates[placed[arm, block][0]], arm, block)
            for arm, block in product(arms, numbers)
            if (arm, block) in placed
        ),
        tuple(numbers),
        {number: name for number, name in names.items() if int(number) in numbers},
        {
            factor: frozenset(
                one
                for text in levels.values()
                for name in reader.names(text)
                for one in (name, settings_of.get(name, name))
            )
            for factor, levels in claims.factors.items()
        },
        tuple(remarks),
    )


class _Reader:
    """Reads the conditions of a file and notes what is wrong with them.

    Args:
        columns: every name that a condition may use.
        cells: a row per run, with every column.
    """

    def __init__(self, path: Path, columns: Sequence[str], cells: Sequence[Cells]) -> None:
        self._path, self._columns, self.cells = path, columns, cells
        self._problems: list[str] = []
        self._parsed: dict[str, Condition] = {}

    def names(self, text: str) -> Collection[str]:
        """The columns that a condition asks about."""
        return self._parsed[text].names if text in self._parsed else ()

    def meeting(self, where: str, text: str, among: Iterable[int]) -> list[int]:
        """The runs, by number, that meet a condition; a complaint if there is none."""
        among = list(among)

        def read() -> list[int]:
            condition = self._parsed[text] = parse_condition(text, self._columns)
            remark = check_against(condition, [self.cells[at] for at in among])
            found = [at for at in among if condition.holds(self.cells[at])]
            if not found:
                shown = (remark or f"no run meets {text!r}").removeprefix("--where: ")
                raise ConfigError(f"{shown}; correct the condition, or name more runs")
            return found

        return self.attempt(where, read, [])

    def attempt(self, where: str, read: Callable[[], list[int]], otherwise: list[int]) -> list[int]:
        try:
            return read()
        except ConfigError as error:
            texts = [problem.removeprefix("--where: ") for problem in error.problems]
            self._problems += [f"{self._path}: {where}: {text}" for text in texts]
            return otherwise

    def complain(self, text: str) -> None:
        self._problems.append(f"{self._path}: {text}")

    def column(self, where: str, name: str) -> list[JsonValue]:
        """The values of a column; None everywhere, and a complaint, if there is no such column."""
        if name not in self._columns:
            self.complain(f"{where}: '{name}' is no column{hint(name, self._columns)}")
        return [row.get(name) for row in self.cells]

    def refuse(self) -> None:
        """Raise what was found, if anything was."""
        if self._problems:
            raise ConfigError(self._problems)


def _blocks(
    claims: ClaimsFile, reader: _Reader, inside: Sequence[int]
) -> tuple[dict[int, int | None], dict[str, str]]:
    """Run, by number, → its block; and the names of blocks that are no whole numbers."""
    if isinstance(claims.block, str):
        column = reader.column("block", claims.block)
        values = {at: column[at] for at in inside}
        if all(value is None or _is_seed(value) for value in values.values()):
            return _whole(values), {}
        known = sorted({json.dumps(v) for v in values.values() if v is not None}, key=_natural)
        number = {text: at for at, text in enumerate(known)}
        names = {str(at): str(json.loads(text)) for text, at in number.items()}
        return {at: number.get(json.dumps(value)) for at, value in values.items()}, names
    found: dict[int, int | None] = dict.fromkeys(inside)
    for number_of_block, (name, text) in enumerate(claims.block.items()):
        for at in reader.meeting(f"block.{name}", text, inside):
            if (before := found[at]) is not None:
                other = list(claims.block)[before]
                reader.complain(
                    f"block: the conditions of {other} and {name} fit one run; narrow one"
                )
            found[at] = number_of_block
    return found, {str(at): name for at, name in enumerate(claims.block)}


def _whole(values: Mapping[int, JsonValue]) -> dict[int, int | None]:
    return {at: int(v) if isinstance(v, int | float) else None for at, v in values.items()}


def _is_seed(value: JsonValue) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return float(value).is_integer() and 0 <= value < _MOST_SEED


def _natural(text: str) -> tuple[bool, float, str]:
    value = json.loads(text)
    is_number = isinstance(value, int | float)
    return (not is_number, float(value) if is_number else 0.0, text)


def _arms(claims: ClaimsFile) -> dict[str, dict[str, str]]:
    """Every arm that there may be: arm → its level of each factor."""
    levels = {factor: list(of_factor) for factor, of_factor in claims.factors.items()}
    return {
        crossed_id(cell): dict(zip(levels, cell, strict=True)) for cell in product(*levels.values())
    }


def _doubles(
    placed: Mapping[tuple[str, int], Sequence[int]], candidates: Sequence[Candidate], path: Path
) -> list[str]:
    """One complaint for each arm in which two runs share a block."""
    problems: dict[str, str] = {}
    for (arm, block), members in placed.items():
        if len(members) < 2 or arm in problems:
            continue
        runs = [candidates[at].run for at in members]
        paths = varying_paths([run.settings for run in runs])
        named = listed(run.run_id for run in runs[:_MOST_NAMED])
        differ = "with the same settings, of other code or repeated; name an ablation or run ids"
        if paths:
            differ = f"which differ in {listed(paths[:_MOST_NAMED])}; narrow 'where' or a condition"
        problems[arm] = (
            f"{path}: arm {arm} has {len(runs)} runs in block {block} ({named}), {differ} until "
            "one is left, or name another 'block'"
        )
    return list(problems.values())
