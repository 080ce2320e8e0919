"""Sides from the store: ablations, arms of them, searches, and runs by their ids."""

from collections.abc import Sequence

from decoder.collapse import CollapseThresholds
from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.plan.document import PlanDocument
from orchestrator.query.compare.mixing import text_of
from orchestrator.query.compare.sides import Kind, Row, Side, SideArm, make_arm, varying_paths
from orchestrator.query.runs import complete_id
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.index import RunIndex
from orchestrator.tables.run_columns import result_columns
from orchestrator.terminal import Say

_OF_SEARCH = (
    "what is compared are its winners and the base, trained again on fresh seeds; the runs they "
    "were chosen by would flatter them"
)


class Store:
    """A results folder whose index is open.

    Args:
        results: the folder.
        index: its index.
        say: receives a line for each record that cannot be trusted.
    """

    def __init__(self, results: Results, index: RunIndex, say: Say) -> None:
        self.results, self._index, self._say = results, index, say
        self._places = index.places()

    def rows(self, run_ids: Sequence[str]) -> list[Row]:
        """The rows of these runs; one that is not recorded has the outcome ``missing``."""
        places = [self._places[run_id] for run_id in run_ids if run_id in self._places]
        known = {row["run_id"]: row for row in self._index.rows(places, self._index.names)}
        return [known.get(run_id, {"run_id": run_id, "outcome": "missing"}) for run_id in run_ids]

    def known(self, run_id: str) -> bool:
        """Whether a run is recorded."""
        return run_id in self._places

    def judged(self, side: Side, thresholds: CollapseThresholds) -> Side:
        """The same side, its stored runs' collapse judged by other thresholds than the default."""
        ids = [run["run_id"] for arm in side.arms for run in arm.runs if self.known(run["run_id"])]
        records = read_records(self.results, ids, self._say, move_aside=False)
        results = {
            run_id: result_columns(record, read_history(self.results, run_id), thresholds)
            for run_id, record in records.items()
        }
        names = ("outcome", "collapsed", "escape_step", "escape_censored")
        arms = tuple(
            arm._replace(
                runs=tuple(
                    {**run, **{n: results[run["run_id"]][n] for n in names}}
                    if run["run_id"] in results
                    else run
                    for run in arm.runs
                )
            )
            for arm in side.arms
        )
        return side._replace(arms=arms)


def read_stored(text: str, store: Store) -> Side | None:
    """The side that a text names in the store; None if it names nothing there.

    Args:
        text: an ablation or a search, ``NAME:ARM``, or run ids (how they begin is enough) with
            commas between.
        store: the store.

    Raises:
        ConfigError: the ablation has no such arm; several runs begin so.
    """
    name, colon, arm_id = text.partition(":")
    side = _planned(text, text, store) or (_planned(text, name, store) if colon else None)
    if side is not None and colon:
        arms = {arm.name: arm for arm in side.arms}
        if arm_id not in arms:
            raise ConfigError(
                f"{text}: {name} has no arm '{arm_id}'{did_you_mean(arm_id, arms)} "
                f"(there are: {', '.join(arms)})"
            )
        return side._replace(arms=(arms[arm_id],))
    if side is not None:
        return side
    parts = [part.strip() for part in text.split(",")]
    if all(_may_be_id(part) for part in parts):
        run_ids = [complete_id(store.results, part) for part in parts]
        return side_of_runs(text, "runs", run_ids, store)
    return None


def side_of_ablation(label: str, plan: PlanDocument, store: Store) -> Side:
    """An ablation as its plan has it."""
    seeds: dict[str, dict[str, int]] = {}  # arm → run → the seed it is trained with
    for run in plan.runs:
        seeds.setdefault(run.arm_id, {})[run.run_id] = run.seed
    arms = []
    for arm in plan.arms:
        of_arm = seeds.get(arm.arm_id, {})
        rows = [{"seed": of_arm[row["run_id"]], **row} for row in store.rows(list(of_arm))]
        arms.append(make_arm(arm.arm_id, arm.levels, rows))
    thresholds = plan.spec.collapse.thresholds()
    return Side(label, "ablation", tuple(arms), thresholds)


def side_of_runs(label: str, kind: Kind, run_ids: Sequence[str], store: Store) -> Side:
    """Recorded runs, one arm a configuration, named by the settings in which they differ."""
    groups: dict[str, list[Row]] = {}
    for row in store.rows(list(dict.fromkeys(run_ids))):
        groups.setdefault(str(row.get("config_id")), []).append(row)
    return Side(label, kind, named_by_settings([make_arm("", {}, g) for g in groups.values()]))


def named_by_settings(arms: Sequence[SideArm]) -> tuple[SideArm, ...]:
    """Arms named by the levels and settings in which they differ; a single one by its runs."""
    if len(arms) == 1:
        names = ", ".join(str(run["run_id"])[:8] for run in arms[0].runs[:3])
        more = f" and {len(arms[0].runs) - 3} more" if len(arms[0].runs) > 3 else ""
        return (arms[0]._replace(name=names + more),)
    known = [{**arm.levels, **arm.config} for arm in arms]
    varying = varying_paths(known)
    return tuple(
        arm._replace(
            name=", ".join(f"{p.rpartition('.')[2]} {text_of(own.get(p))}" for p in varying)
        )
        for arm, own in zip(arms, known, strict=True)
    )


def _planned(label: str, name: str, store: Store) -> Side | None:
    """The ablation of that name, or the search; None if neither was run."""
    if "/" in name:
        return None
    if (store.results.ablations / name / "plan.json").is_file():
        return side_of_ablation(label, read_plan(store.results, name), store)
    searches = store.results.of_searches
    if (searches.ablations / name / "plan.json").is_file():
        side = side_of_ablation(label, read_plan(searches, name), store)
        return side._replace(kind="search", remarks=(_OF_SEARCH,))
    return None


def _may_be_id(text: str) -> bool:
    return 4 <= len(text) <= 16 and set(text) <= set("0123456789abcdef")
