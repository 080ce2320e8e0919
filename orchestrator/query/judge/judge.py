"""From a claims file and the names of runs to a judgement in the results folder."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from decoder.config import config_paths, digest
from decoder.errors import ConfigError
from orchestrator.driver.reporting import rebuild_report
from orchestrator.plan.document import ArmEntry, PlanDocument, RecordingsEntry, RunEntry
from orchestrator.plan.judged import Judged, JudgedRun
from orchestrator.query.compare.sides import SideArm
from orchestrator.query.compare.stored_runs import IndexedStore
from orchestrator.query.judge.candidates import Candidate, read_candidates
from orchestrator.query.judge.claims_file import ClaimsFile, load_claims
from orchestrator.query.judge.comparable import find_caveats, find_obstacles, side_arms
from orchestrator.query.judge.placing import Placement, place
from orchestrator.spec.compared import compared_by_name
from orchestrator.stats.run_values import COUNTED
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan
from orchestrator.tables.index import open_index
from orchestrator.tables.run_columns import FINAL_COLUMNS
from orchestrator.tables.run_row import varying_paths
from orchestrator.terminal import Say

_WHOLE = ("n_steps", "n_steps_done", "eval_every_steps", "best_per_step", "n_parameters")
_NUMBERS = (
    "per",
    "wer",
    "best_per",
    "per_beam",
    "escape_step",
    "selection_optimism",
    *FINAL_COLUMNS,
)
_SHARES = ("collapsed", "diverged")
_UNKNOWN = "not recorded"


def judge_runs(path: Path, texts: Sequence[str], results: Results, say: Say) -> PlanDocument:
    """Judge the hypotheses of a claims file over runs that exist.

    Writes the plan, tables, verdicts, figures and report into ``judged/NAME`` of the results
    folder. Runs of the store are read from there again by `report`; of other runs, the plan keeps
    what was read.

    Args:
        path: the claims file.
        texts: what names the runs, see `read_candidates`.
        say: receives a line for each remark on how the runs were read.

    Returns:
        The plan of the judgement.

    Raises:
        ConfigError: the file has mistakes, a text names nothing, or runs cannot be paired or
            pooled.
    """
    claims = load_claims(path)
    store = IndexedStore(results, open_index(results, say), say)
    candidates = read_candidates(texts, store, claims, say)
    placement = place(claims, candidates.runs, path)
    document = _document(path, texts, claims, placement, candidates.remarks)
    assert document.judged is not None
    for remark in document.judged.remarks:
        say(remark)
    place_of = results.of_judged
    write_plan(place_of, document)
    rebuild_report(place_of, document, say)
    return document


def _document(
    path: Path,
    texts: Sequence[str],
    claims: ClaimsFile,
    placement: Placement,
    remarks: Sequence[str],
) -> PlanDocument:
    spec = claims.as_ablation(placement.arms, placement.blocks)
    try:
        compared = compared_by_name(spec, placement.arms)
    except ConfigError as error:
        short = [problem.partition(", which design")[0] for problem in error.problems]
        raise ConfigError(
            [f"{path}: {text}; of the runs that were named, none is in that arm" for text in short]
        ) from None
    problems = find_obstacles(claims, placement, compared, path)
    if problems:
        raise ConfigError(problems)
    arms = side_arms(placement)
    unknown = [arm for criterion in spec.criteria.values() for arm in criterion.arms or ()]
    if missing := [arm for arm in unknown if arm not in arms]:
        raise ConfigError(f"{path}: criteria: '{missing[0]}' is no arm (there are: {[*arms]})")
    recordings = _recordings(placement)
    return PlanDocument(
        name=spec.name,
        question=spec.question,
        spec_file=str(path),
        spec=spec,
        spec_hash=digest(spec.model_dump(mode="json", by_alias=True)),
        dataset=recordings[0],
        datasets=recordings,
        arms=_arm_entries(arms),
        runs=tuple(
            RunEntry(
                run_id=one.candidate.run.run_id,
                arm_id=one.arm,
                seed=one.block if one.candidate.run.seed is None else one.candidate.run.seed,
                block=one.block,
            )
            for one in placement.runs
        ),
        exact_locked=(),
        allow_mixed=True,
        judged=Judged(
            sources=tuple(texts),
            block=claims.block if isinstance(claims.block, str) else "conditions of the file",
            blocks=placement.block_names,
            conditions=claims.factors,
            where=claims.where or "",
            runs=tuple(
                _judged_run(one.candidate, [h.outcome for h in spec.hypotheses.values()])
                for one in placement.runs
                if not one.candidate.is_recorded
            ),
            caveats={
                name: find_caveats(spec.hypotheses[name], parts, arms, placement, claims)
                for name, parts in compared.items()
            },
            remarks=(*remarks, *placement.remarks),
            endings_known=all("outcome" in one.candidate.known for one in placement.runs),
        ),
    )


def _arm_entries(arms: Mapping[str, SideArm]) -> tuple[ArmEntry, ...]:
    """The arms, each with the settings in which arms differ and the arm that it is closest to."""
    marks = config_paths()
    paths = [
        path
        for path in varying_paths([arm.config for arm in arms.values()])
        if path not in marks or not marks[path].not_identity
    ]
    changes: dict[str, dict[str, JsonValue]] = {
        name: {path: arm.config.get(path, _UNKNOWN) for path in paths} for name, arm in arms.items()
    }
    entries: list[ArmEntry] = []
    for name, arm in arms.items():

        def n_different(other: str, own: Mapping[str, JsonValue] = changes[name]) -> int:
            return sum(changes[other][path] != own[path] for path in paths)

        parent = min((entry.arm_id for entry in entries), key=n_different, default=None)
        entries.append(
            ArmEntry(
                arm_id=name,
                levels=arm.levels,
                changes=changes[name],
                in_design=True,
                parent=parent,
            )
        )
    return tuple(entries)


def _recordings(placement: Placement) -> tuple[RecordingsEntry, ...]:
    """The recordings that runs name, as far as they do."""
    found: dict[str, RecordingsEntry] = {}
    for one in placement.runs:
        run = one.candidate.run
        key = run.dataset or run.dataset_path or _UNKNOWN
        found.setdefault(
            key,
            RecordingsEntry(
                fingerprint=run.dataset or _UNKNOWN,
                path=run.dataset_path or "recordings that are not named",
                sessions=(),
                n_train_trials=0,
                n_val_trials=0,
            ),
        )
    return tuple(found.values())


def _judged_run(candidate: Candidate, outcomes: Sequence[str]) -> JudgedRun:
    """What the plan keeps of a run that the store has no record of, the `outcomes` included."""
    run = candidate.run
    columns: dict[str, str | int | float | bool | None] = {"outcome": run.outcome}
    names = [name for name in (*_NUMBERS, *outcomes) if name not in _SHARES]
    columns |= {name: number for name in names if (number := run.number(name)) is not None}
    columns |= {name: int(number) for name in _WHOLE if (number := run.number(name)) is not None}
    if run.outcome in COUNTED:
        columns |= _counts(candidate)
    history = tuple(
        {name: value for name, value in row.items() if math.isfinite(value)}
        for row in candidate.history
    )
    return JudgedRun(
        run_id=run.run_id,
        columns=columns,
        settings=run.settings,
        dataset=run.dataset,
        dataset_path=run.dataset_path,
        trainer=run.trainer,
        history=history,
    )


def _counts(candidate: Candidate) -> dict[str, str | int | float | bool | None]:
    run = candidate.run
    found: dict[str, str | int | float | bool | None] = {
        "collapsed": int(run.outcome != "ok"),
        "diverged": int(run.outcome == "diverged"),
    }
    if "escape_step" in candidate.known:
        found["escape_censored"] = run.number("escape_step") is None
    return found
