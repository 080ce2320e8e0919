"""Sides from the store: ablations, arms of them, searches, and runs by their ids."""

import io
import json
from collections.abc import Sequence
from typing import Any

from decoder.collapse import CollapseThresholds
from decoder.complaints import did_you_mean
from decoder.errors import ConfigError, StorageError
from decoder.regular import read_json, read_regular
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.judged import NOT_REGISTERED, Judged
from orchestrator.query.compare.arm_differences import setting_text
from orchestrator.query.compare.sides import Side, SideArm, make_arm
from orchestrator.query.runs import complete_id
from orchestrator.spec.names import listed
from orchestrator.spec.schema import CollapseSpec
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.index import RunIndex
from orchestrator.tables.run_columns import result_columns
from orchestrator.tables.run_row import RunRow, varying_paths
from orchestrator.terminal import Say

_OF_SEARCH = (
    "the base and the best configurations are compared on fresh seeds, because the runs that "
    "chose them give too optimistic a PER"
)
_UNCONFIRMED = (
    "unconfirmed: the best candidate is shown on the seeds that it was chosen by, which make it "
    "look better than it is"
)
_BEST = {"level": str, "confirmed": bool, "run_ids": str}  # columns of the table of candidates
_JUDGED = ("collapsed", "escape_step", "escape_censored")  # results that depend on thresholds


class IndexedStore:
    """A results folder whose index is open.

    Args:
        say: receives a line for each record that cannot be trusted.
    """

    def __init__(self, results: Results, index: RunIndex, say: Say) -> None:
        self.results, self._index, self._say = results, index, say
        self._positions = index.positions()

    @property
    def run_ids(self) -> list[str]:
        """Every recorded run."""
        return list(self._positions)

    def runs(self, run_ids: Sequence[str]) -> list[RunRow]:
        """These runs; one that is not recorded has the outcome ``missing``."""
        recorded = [self._positions[run_id] for run_id in run_ids if run_id in self._positions]
        known = {run.run_id: run for run in self._index.runs(recorded)}
        return [known.get(run_id, RunRow(run_id)) for run_id in run_ids]

    def has(self, run_id: str) -> bool:
        """Whether a run is recorded."""
        return run_id in self._positions

    def judged(self, side: Side, thresholds: CollapseThresholds) -> Side:
        """The same side, with collapse of its stored runs judged by other thresholds."""
        ids = [run.run_id for arm in side.arms for run in arm.runs if self.has(run.run_id)]
        records = read_records(self.results, ids, self._say, move_aside=False)

        def judge(run: RunRow) -> RunRow:
            if run.run_id not in records:
                return run
            history = read_history(self.results, run.run_id)
            columns = result_columns(records[run.run_id], history, thresholds)
            results = {**run.results, **{name: columns[name] for name in _JUDGED}}
            return run._replace(outcome=str(columns["outcome"]), results=results)

        arms = (arm._replace(runs=tuple(map(judge, arm.runs))) for arm in side.arms)
        return side._replace(arms=tuple(arms))


def read_stored(text: str, store: IndexedStore) -> Side | None:
    """The side that a text names in the store; None if it names nothing there.

    Args:
        text: an ablation or a search, ``NAME:ARM``, or run ids with commas between; the first
            characters of an id are enough.

    Raises:
        ConfigError: the ablation has no such arm; several runs begin with the text.
    """
    name, colon, arm_id = text.partition(":")
    side = _planned(text, name, store)
    if side is not None and colon:
        arms = {arm.name: arm for arm in side.arms}
        if arm_id not in arms:
            raise ConfigError(
                f"{text}: {name} has no arm '{arm_id}'{did_you_mean(arm_id, arms)} "
                f"(there are: {listed(arms)})"
            )
        return side._replace(arms=(arms[arm_id],))
    if side is not None:
        return side
    parts = [part.strip() for part in text.split(",")]
    if all(_may_be_id(part) for part in parts):
        run_ids = [complete_id(store.results, part) for part in parts]
        return side_of_runs(text, run_ids, store)
    return None


def side_of_ablation(label: str, plan: PlanDocument, store: IndexedStore) -> Side:
    """An ablation, arm by arm as its plan has them."""
    seeds: dict[str, dict[str, int]] = {}  # arm → run → the seed it is trained with
    for run in plan.runs:
        seeds.setdefault(run.arm_id, {})[run.run_id] = run.seed
    arms = []
    for arm in plan.arms:
        of_arm = seeds.get(arm.arm_id, {})
        runs = [run._replace(seed=of_arm[run.run_id]) for run in store.runs(list(of_arm))]
        if plan.judged is not None:
            runs = [_as_judged(run, plan.judged) for run in runs]
        arms.append(make_arm(arm.arm_id, arm.levels, runs))
    return Side(label, tuple(arms), plan.spec.collapse.thresholds())


def _as_judged(run: RunRow, judged: Judged) -> RunRow:
    """A run of a judgement; one that the store has no record of is as it was read then."""
    known = judged.foreign.get(run.run_id)
    if known is None:
        return run
    return run._replace(
        outcome=str(known.columns["outcome"]),
        dataset=known.dataset,
        dataset_path=known.dataset_path,
        trainer=known.trainer,
        results={name: value for name, value in known.columns.items() if name != "outcome"},
        settings=known.settings,
    )


def side_of_runs(label: str, run_ids: Sequence[str], store: IndexedStore) -> Side:
    """Recorded runs, one arm per configuration, named by the settings in which they differ."""
    groups: dict[str | None, list[RunRow]] = {}
    for run in store.runs(list(dict.fromkeys(run_ids))):
        groups.setdefault(run.config_id, []).append(run)
    return Side(label, named_by_settings([make_arm("", {}, group) for group in groups.values()]))


def named_by_settings(arms: Sequence[SideArm]) -> tuple[SideArm, ...]:
    """Arms named by the levels and settings in which they differ; a single one by its runs."""
    if len(arms) == 1:
        names = ", ".join(run.run_id[:8] for run in arms[0].runs[:3])
        more = f" and {len(arms[0].runs) - 3} more" if len(arms[0].runs) > 3 else ""
        return (arms[0]._replace(name=names + more),)
    known = [{**arm.levels, **arm.config} for arm in arms]
    varying = varying_paths(known)
    return tuple(
        arm._replace(
            name=", ".join(f"{p.rpartition('.')[2]} {setting_text(own.get(p))}" for p in varying)
        )
        for arm, own in zip(arms, known, strict=True)
    )


def _planned(label: str, name: str, store: IndexedStore) -> Side | None:
    """The ablation of that name, the judgement, or the search; None if there is none."""
    if "/" in name:
        return None
    if (store.results.ablations / name / "plan.json").is_file():
        return side_of_ablation(label, read_plan(store.results, name), store)
    if name in store.results.judgements():
        side = side_of_ablation(label, read_plan(store.results.of_judged, name), store)
        return side._replace(remarks=(NOT_REGISTERED,))
    if name not in store.results.searches():
        return None
    searches = store.results.of_searches
    best = _best_candidates(searches, name)
    is_planned = searches.plan(name).is_file()
    if is_planned and (not best or any(row["confirmed"] for row in best)):
        side = side_of_ablation(label, read_plan(searches, name), store)
        return side._replace(remarks=(_OF_SEARCH,))
    if not best:
        raise ConfigError(
            f"{name}: the search has no best candidate to compare; if a candidate was trained to "
            f"its end, rebuild its tables with `report {name}`, else run the search on"
        )
    arms = [
        make_arm(row["level"], {"configuration": row["level"]}, store.runs(row["run_ids"].split()))
        for row in best
    ]
    return Side(label, tuple(arms), _thresholds(searches, name), (_UNCONFIRMED,))


def _thresholds(searches: Results, name: str) -> CollapseThresholds:
    """What a search calls collapse, from the file in which it keeps its specification."""
    path = searches.kept_search(name)
    try:
        spec = read_json(path)["spec"]
        return CollapseSpec.model_validate_json(json.dumps(spec["collapse"])).thresholds()
    except FileNotFoundError:
        what = "is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"cannot be read ({' '.join(str(error).split())})"
    raise StorageError(f"{path}: {what}; `report` with the YAML file of the search writes it again")


def _best_candidates(searches: Results, name: str) -> list[dict[str, Any]]:
    """The table of the best candidates of a search; empty if there is none, or no candidate."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # takes 0.1 s

    path = searches.best(name)
    try:
        table = pq.read_table(io.BytesIO(read_regular(path)), columns=list(_BEST))
        rows: list[dict[str, Any]] = table.to_pylist()
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise StorageError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); `report` writes it again"
        ) from None
    if not all(isinstance(row[key], kind) for row in rows for key, kind in _BEST.items()):
        raise StorageError(f"{path}: holds no best candidates; `report` writes it again")
    return rows


def _may_be_id(text: str) -> bool:
    return 4 <= len(text) <= 16 and set(text) <= set("0123456789abcdef")
