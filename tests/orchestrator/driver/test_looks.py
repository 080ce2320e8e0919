"""Looks that stop arms: what trains, what is decided, and that a decision stands."""

import io
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from small_ablation import Rebuilds, result_of
from typer.testing import CliRunner

from decoder.pack import Pack, Progress
from orchestrator.cli.app import app
from orchestrator.cli.designs_view import recommendation
from orchestrator.cli.plan_view import preview_document, print_preview
from orchestrator.cli.run_view import claim_rows, print_claims, status_rows
from orchestrator.driver.export import export_ablation
from orchestrator.driver.preview import DesignCost, Preview, make_preview
from orchestrator.driver.run import AblationOutcome, run_ablation
from orchestrator.execute.backends import Execution, PackEvent, PackFailed
from orchestrator.execute.export import ArrayJob
from orchestrator.execute.machine import Options
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.looks import next_look, runs_not_needed, runs_wanted, spare_runs
from orchestrator.plan.recordings import PrepareData
from orchestrator.report.claims import make_answers
from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.intervals import effect_limits
from orchestrator.report.paper import paper_text
from orchestrator.serve.snapshot import Watched
from orchestrator.serve.sweep_page import sweep_page
from orchestrator.serve.views import runs_page
from orchestrator.spec.load import Loaded
from orchestrator.stats.runs_forecast import ExpectedRuns
from orchestrator.store.ledger import read_history, read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.tables import make_tables
from orchestrator.verdicts.criteria import evaluate
from orchestrator.verdicts.verdicts import decide

OnEvent = Callable[[PackEvent], None]
STEPS = {"start": 4, "max": 12, "step": 2}
# Weak noise is decided at once; the rate's small effect stays open.
CLAIMS = {
    "seeds": STEPS,
    "hypotheses/only_when_slow": ...,
    "hypotheses/slow_hurts": {
        "claim": "A low rate raises PER.",
        "contrast": {"factor": "rate", "from": "high", "to": "low"},
        "where": {"noise": "official"},
        "outcome": "per",
        "direction": "increase",
        "margin": 0.02,
        "family": "rate",
    },
}
OF_RATE = {"official+high", "official+low"}


class Truth:
    """A backend whose runs have a PER of their arm and seed, and that notes what it trained.

    Args:
        slow: effect of the low rate.
        dies_after: how many packs it trains before it dies; None for all.
    """

    def __init__(self, slow: float = 0.02, dies_after: int | None = None) -> None:
        self.slow, self.dies_after = slow, dies_after
        self.packs: list[Pack] = []
        self.failing: set[tuple[int, bool]] = set()  # seed, and whether the rate is low

    def __call__(self, packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        for pack in packs:
            if self.dies_after is not None and len(self.packs) >= self.dies_after:
                raise KeyboardInterrupt
            self.packs.append(pack)
            fails = [r.run_id for r in pack.runs if self._of(r, pack.seed)[:2] in self.failing]
            done = [self.result(run, pack) for run in pack.runs if run.run_id not in fails]
            on_event(PackEvent(pack.pack_id, Progress(60, {}, done), {"device": "none"}))
            if fails:
                on_event(PackEvent(pack.pack_id, PackFailed(tuple(fails), "MemoryError", 3)))

    @staticmethod
    def _of(run: Any, seed: int) -> tuple[int, bool, bool]:
        weak = run.config.augment.white_noise_std < 0.5
        return seed, run.config.optim.lr_max < 0.004, weak

    def result(self, run: Any, pack: Pack) -> Any:
        seed, low, weak = self._of(run, pack.seed)
        noise = random.Random(f"{seed} {low} {weak}").gauss(0, 0.01)
        per = 0.3 + 0.2 * weak + self.slow * low + noise
        made = result_of(run, n_runs=len(pack.runs))
        rows = ({**row, "per": per, "emitted_ratio": 0.9, "n_distinct": 30} for row in made.history)
        return replace(made, history=tuple(rows))


@pytest.fixture
def go(
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    console: Console,
    rebuilt: Rebuilds,
    describe: PrepareData,
) -> Callable[..., AblationOutcome]:
    """Runs the small ablation with looks."""

    def run(
        train: Any = None, *, of: Results | None = None, share: bool = False, **changes: Any
    ) -> AblationOutcome:
        return run_ablation(
            load({**CLAIMS, **changes}),
            of or results,
            options,
            console,
            backend=train or Truth(),
            describe=describe,
            rebuild=rebuilt,
            share_work=share,
        )

    return run


def look_files(results: Results) -> dict[str, bytes]:
    found = sorted(results.ablation("question").glob("looks/*/*"))
    return {path.name: path.read_bytes() for path in found}


def decided(results: Results) -> list[dict[str, str]]:
    """Look by look: claim → state."""
    documents = [json.loads(content)["decision"] for content in look_files(results).values()]
    return [{n: one["state"] for n, one in doc["claims"].items()} for doc in documents]


def plan_and_runs(results: Results) -> tuple[PlanDocument, pd.DataFrame]:
    plan = read_plan(results, "question")
    records = read_records(results, plan.run_ids, print)
    histories = {run_id: read_history(results, run_id) for run_id in records}
    return plan, make_tables(plan, records, histories).runs


def seeds_of_arms(results: Results) -> dict[str, int]:
    plan = read_plan(results, "question")
    done = with_result(read_records(results, plan.run_ids, print))
    return dict(Counter(run.arm_id for run in plan.runs if run.run_id in done))


def test_arms_that_no_open_claim_compares_train_no_further_seeds(
    go: Callable[..., AblationOutcome], results: Results, rebuilt: Rebuilds
) -> None:
    outcome = go()
    states = decided(results)
    assert states[0] == {"weak_hurts": "supported", "slow_hurts": "open"}
    seeds = seeds_of_arms(results)
    most = read_plan(results, "question").looks_taken[-1].n_seeds
    assert most > 4 and {seeds[arm] for arm in OF_RATE} == {most}
    assert {n for arm, n in seeds.items() if arm not in OF_RATE} == {4}
    assert (outcome.exit_code, outcome.n_runs) == (0, 48)
    assert outcome.n_recorded == 2 * most + 2 * 4 == outcome.n_runs - outcome.n_not_needed
    assert not results.checkpoints("question").exists()
    plan, records = rebuilt[-1][1:3]
    verdicts = {one.name: one for one in decide(plan, make_tables(*rebuilt[-1][1:]).runs)}
    assert (verdicts["weak_hurts"].word, verdicts["weak_hurts"].look) == ("supported", 1)
    assert len(runs_not_needed(plan, records)) == outcome.n_not_needed


def test_a_look_is_taken_when_all_arms_have_its_seeds_and_not_before(
    go: Callable[..., AblationOutcome], results: Results
) -> None:
    train = Truth(dies_after=3)  # of four packs, one a seed
    with pytest.raises(KeyboardInterrupt):
        go(train)
    assert not look_files(results)
    plan = read_plan(results, "question")
    assert next_look(plan) == 4 and len(runs_wanted(plan)) == 16 and not spare_runs(plan)
    go()
    assert decided(results)[0]["weak_hurts"] == "supported"


def test_packs_hold_all_needed_arms_of_one_seed(go: Callable[..., AblationOutcome]) -> None:
    train = Truth()
    go(train)
    first, later = train.packs[:4], train.packs[4:]
    assert [len(pack.runs) for pack in first] == [4] * 4
    assert len(later) > 1 and all(len(pack.runs) == 2 for pack in later)
    assert sorted(pack.seed for pack in first) == [1, 2, 3, 4]


def test_a_driver_that_dies_anywhere_takes_the_same_decisions_later(
    go: Callable[..., AblationOutcome], results: Results
) -> None:
    alone = Results(results.root.with_name("alone"))
    whole = Truth()
    expected = go(whole, of=alone)
    n_trained = 0
    for dies_after in range(1, len(whole.packs) + 1):
        train = Truth(dies_after=1)
        if dies_after < len(whole.packs):
            with pytest.raises(KeyboardInterrupt):
                go(train)
        else:
            go(train)
        n_trained += sum(len(pack.runs) for pack in train.packs)
    assert look_files(results) == look_files(alone)
    assert n_trained == expected.n_recorded, "no run is trained twice"


def test_a_driver_that_dies_before_its_decision_is_written_takes_it_from_the_records(
    go: Callable[..., AblationOutcome], results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Results(results.root.with_name("alone"))
    go(of=alone)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("orchestrator.driver.looks.write_look", dies)
        go()
    assert not look_files(results)
    go()
    assert look_files(results) == look_files(alone)


def test_a_finished_ablation_trains_nothing_and_decides_nothing_anew(
    go: Callable[..., AblationOutcome], results: Results
) -> None:
    first = go()
    before = {p: p.stat().st_mtime_ns for p in results.ablation("question").glob("looks/*/*")}
    train = Truth(slow=0.5)
    again = go(train)
    assert train.packs == [] and again.n_trained == 0
    assert (again.n_recorded, again.n_not_needed) == (first.n_recorded, first.n_not_needed)
    after = {p: p.stat().st_mtime_ns for p in results.ablation("question").glob("looks/*/*")}
    assert before == after


def damages() -> Iterator[Callable[[Path], object]]:
    yield lambda path: path.write_bytes(b"")
    yield lambda path: path.write_bytes(path.read_bytes()[:-40])
    yield lambda path: path.write_text(path.read_text().replace('"open"', '"refuted"'))
    yield lambda path: path.write_text(path.read_text().replace('"look": 1', '"look": 2', 1))
    yield lambda path: shutil.copy(path.with_name("look-2.json"), path)
    yield lambda path: path.write_text("[" * 5000)
    yield lambda path: (path.unlink(), path.mkdir())
    yield lambda path: (path.unlink(), os.mkfifo(path))
    yield lambda path: (path.unlink(), path.symlink_to("/dev/zero"))


@pytest.mark.parametrize("damage", list(damages()))
def test_a_damaged_look_is_moved_aside_and_taken_again_with_the_same_result(
    go: Callable[..., AblationOutcome],
    results: Results,
    console: Console,
    damage: Callable[[Path], object],
) -> None:
    go()
    before = look_files(results)
    (path,) = results.ablation("question").glob("looks/*/look-1.json")
    damage(path)
    assert read_plan(results, "question").looks_taken == (), "readers leave the file as it is"
    train = Truth()
    outcome = go(train)
    assert outcome.exit_code == 0 and train.packs == []
    (aside,) = path.parent.glob("*.corrupt*")
    assert aside.name == "look-1.json.corrupt"
    assert "look-1.json.corrupt" in console.export_text()
    after = {p.name: p.read_bytes() for p in path.parent.glob("look-*.json")}
    assert after == before


def test_a_run_that_fails_for_good_leaves_its_claim_open_until_it_has_a_result(
    go: Callable[..., AblationOutcome], results: Results, console: Console
) -> None:
    train = Truth(slow=0.2)  # would be decided at the first look
    train.failing = {(2, True)}
    outcome = go(train)
    assert decided(results)[0] == {"weak_hurts": "supported", "slow_hurts": "open"}
    assert outcome.exit_code == 4 and outcome.n_failed == 2
    assert {states["slow_hurts"] for states in decided(results)} == {"open"}
    assert len(decided(results)) == 4, "the last of five looks waits for the run"
    assert "failed for good" in console.export_text()
    first = look_files(results)["look-1.json"]
    mended = Truth(slow=0.2)
    assert go(mended).exit_code == 0
    assert {pack.seed for pack in mended.packs} >= {2}
    assert look_files(results)["look-1.json"] == first, "a decision stands"
    plan, runs = plan_and_runs(results)
    recorded = plan.looks_taken[-1].claims["slow_hurts"]
    verdicts = {one.name: one for one in decide(plan, runs)}
    assert (verdicts["slow_hurts"].word, verdicts["slow_hurts"].look) == ("supported", 5)
    assert (recorded.state, recorded.look) == ("supported", 5)
    freely = decide(plan.model_copy(update={"looks_taken": ()}), runs)
    assert {one.look for one in freely} == {1}, "what the mended run would have decided"


def test_more_seeds_than_the_lock_train_for_open_claims_alone_and_change_no_decision(
    go: Callable[..., AblationOutcome], results: Results
) -> None:
    short = {"seeds": {**STEPS, "max": 8}}
    go(**short)
    before = look_files(results)
    assert decided(results)[-1]["slow_hurts"] in ("futile", "inconclusive")
    train = Truth()
    outcome = go(train)
    assert look_files(results) == before
    plan = read_plan(results, "question")
    assert {added.locked for added in plan.seeds_added.values()} == {tuple(range(1, 9))}
    assert plan.lock_changed == ()
    assert {pack.seed for pack in train.packs} == {9, 10, 11, 12}
    assert {n for arm, n in seeds_of_arms(results).items() if arm in OF_RATE} == {12}
    assert outcome.exit_code == 0 and outcome.n_not_needed == 16


def test_other_steps_after_a_look_are_a_change_of_the_claims(
    go: Callable[..., AblationOutcome], results: Results
) -> None:
    go()
    go(seeds={**STEPS, "step": 4})
    assert read_plan(results, "question").lock_changed == ("weak_hurts", "slow_hurts")
    go()
    assert read_plan(results, "question").lock_changed == ()


def test_listed_looks_stop_arms_too(go: Callable[..., AblationOutcome], results: Results) -> None:
    looks = [{"seeds": 5, "alpha": 0.02}, {"seeds": 10, "alpha": 0.03}]
    outcome = go(seeds=list(range(10)), looks=looks)
    assert decided(results)[0]["weak_hurts"] == "supported"
    assert sorted(seeds_of_arms(results).values()) == [5, 5, 10, 10]
    assert (outcome.exit_code, outcome.n_not_needed) == (0, 10)


def test_runs_that_are_not_needed_are_named_and_no_gap(
    go: Callable[..., AblationOutcome], results: Results
) -> None:
    changes = {"criteria": {"fine": {"never": "diverged"}}}
    outcome = go(**changes)
    plan = read_plan(results, "question")
    records = read_records(results, plan.run_ids, print)
    histories = {run_id: read_history(results, run_id) for run_id in records}
    tables = make_tables(plan, records, histories)
    endings = tables.runs["outcome"].value_counts()
    assert endings["not needed"] == outcome.n_not_needed and "missing" not in endings
    arms = tables.arms.set_index("arm")
    assert arms["n_not_needed"].sum() == outcome.n_not_needed and arms["n_missing"].sum() == 0
    assert {one.status for one in evaluate(plan.spec, tables.runs, histories)} == {"pass"}
    (row,) = status_rows(results, "question", print)
    assert row["n_not_needed"] == outcome.n_not_needed


def test_status_says_which_claims_are_decided_and_how_many_seeds_the_open_ones_have(
    go: Callable[..., AblationOutcome], results: Results, console: Console
) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(Truth(dies_after=5))  # one pack of the second look
    rows = {row["hypothesis"]: row for row in claim_rows(results, None)}
    weak, slow = rows["weak_hurts"], rows["slow_hurts"]
    assert (weak["state"], weak["look"], weak["n_seeds"]) == ("supported", 1, 4)
    assert weak["next_look_seeds"] is None
    assert (slow["state"], slow["look"], slow["n_looks"]) == ("open", 1, 5)
    assert (slow["n_seeds_complete"], slow["next_look_seeds"]) == (5, 6)
    print_claims(console, list(rows.values()))
    printed = console.export_text()
    assert "1 of 5, 4 seeds" in printed and "next at 6 seeds" in printed
    shown = CliRunner().invoke(app, ["status", "--json", "--results", str(results.root)])
    (ablation,) = json.loads(shown.stdout)
    assert ablation["claims"] == [weak, slow]


def test_plan_shows_what_is_wanted_next_and_what_looks_are_expected_to_cost(
    go: Callable[..., AblationOutcome],
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    describe: PrepareData,
) -> None:
    def see(**changes: Any) -> Preview:
        loaded = load({**CLAIMS, "prior": {"per": 0.02}, **changes})
        return make_preview(loaded, results, options, print, calibrate=False, describe=describe)

    before = see()
    assert before.next_look == 4 and sum(len(pack.runs) for pack in before.packs) == 16
    assert [one.expected.scenario for one in before.designs] == [
        "no effect",
        "the margin",
        "twice the margin",
    ]
    assert all(16 <= one.expected.n_runs <= 48 for one in before.designs)
    assert all(one.hours is None for one in before.designs), "no record gives the cost"
    assert not see(seeds=[1, 2, 3]).designs
    outcome = go(prior={"per": 0.02})
    after = see()
    assert (after.packs, after.next_look) == ((), None)
    assert after.n_not_needed == outcome.n_not_needed
    assert all(one.hours for one in after.designs)
    document = preview_document(after)
    assert document["n_not_needed"] == outcome.n_not_needed
    assert [one["scenario"] for one in document["designs"]] == [
        one.expected.scenario for one in after.designs
    ]
    console = Console(record=True, width=200, file=io.StringIO())
    print_preview(console, after)
    printed = console.export_text()
    assert "twice the margin" in printed and document["recommended"] in printed
    assert f"{outcome.n_not_needed} not needed" in printed


def test_the_recommended_design_is_the_one_with_fewer_runs() -> None:
    def cost(n_runs: float, fixed_runs: int) -> DesignCost:
        return DesignCost(ExpectedRuns("no effect", n_runs, 0.8, 6, fixed_runs), None, None)

    assert "these looks" in recommendation([cost(10, 12), cost(15, 14)])
    assert "fixed seeds, 6 of them" in recommendation([cost(20, 12)])


def test_an_export_has_the_runs_up_to_the_next_look(
    go: Callable[..., AblationOutcome],
    load: Callable[..., Loaded],
    results: Results,
    describe: PrepareData,
    tmp_path: Path,
) -> None:
    def export(folder: str) -> set[int]:
        job = ArrayJob(1, 0, 0, "1:00:00", 60, 0, (), (), "python", tmp_path)
        loaded, into = load(CLAIMS), tmp_path / folder
        export_ablation(loaded, results, into, job, print, ["export"], describe=describe)
        lines = (tmp_path / folder / "runs.txt").read_text().splitlines()
        plan = read_plan(results, "question")
        return {run.block for run in plan.runs if any(run.run_id in line for line in lines)}

    assert export("first") == {1, 2, 3, 4}
    with pytest.raises(KeyboardInterrupt):
        go(Truth(dies_after=4))
    for path in results.ablation("question").glob("looks/*/*"):
        path.unlink()
    assert export("second") == {5, 6}, "the look is taken from the records"
    assert len(look_files(results)) == 1


def test_processes_that_share_the_work_take_each_look_once(
    go: Callable[..., AblationOutcome], results: Results
) -> None:
    alone = Results(results.root.with_name("alone"))
    go(of=alone)
    with pytest.raises(KeyboardInterrupt):
        go(Truth(dies_after=5), share=True)
    outcome = go(share=True)
    assert outcome.exit_code == 0 and outcome.is_reported
    assert look_files(results) == look_files(alone)


def test_the_pages_of_a_folder_call_it_done_when_no_open_claim_needs_more(
    go: Callable[..., AblationOutcome], results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.serve.snapshot._SECONDS", 0.0)
    monkeypatch.setattr("orchestrator.serve.snapshot._PATIENCE", 0.0)
    watched = Watched(results, print)
    with pytest.raises(KeyboardInterrupt):
        go(Truth(dies_after=5))  # after the first look
    state = watched.now()
    sweep = state.sweep("ablations", "question")
    assert sweep is not None and sweep.state == "interrupted"
    assert sweep.outcomes["not needed"] == 2 * (12 - 4) == 48 - sweep.n_planned
    outcome = go()
    state = watched.now()
    sweep = state.sweep("ablations", "question")
    assert sweep is not None and sweep.state == "done"
    assert sweep.n_recorded == sweep.n_planned == outcome.n_recorded
    assert sweep.outcomes == {"ok": outcome.n_recorded, "not needed": outcome.n_not_needed}
    arms = {arm.arm: dict(arm.counts) for arm in sweep_page(state, sweep, []).arms}
    assert arms["weak+high"] == {"ok": 4, "not needed": 8}
    chosen = {"sweep": "ablations/question", "text": "", "sort": "", "page": 1}
    shown = runs_page(state, outcome="not needed", **chosen)  # type: ignore[arg-type]
    assert shown.outcomes == ["not needed", "ok"]
    assert shown.n_matching == outcome.n_not_needed


def test_the_lines_of_claims_a_paper_and_the_axis_of_effects_know_of_looks(
    go: Callable[..., AblationOutcome], rebuilt: Rebuilds
) -> None:
    go()
    given = evaluate_records(*rebuilt[-1][1:])
    lines = {line.split(":")[0]: line for line in paper_text(given).splitlines()}
    planned = lines["Planned looks, which share α"]
    assert [f"at {n} seeds" in planned for n in (4, 6, 8, 10, 12)] == [True] * 5
    assert "95 %" not in lines["Decision rule"]
    for verdict in given.verdicts:
        look = f"look {verdict.look} of 5"
        assert lines[verdict.name].count(look) == 2, "where it was decided, and the correction"
        assert verdict.evidence.bound_error < 0.05
    answers = make_answers(given.plan, given.verdicts, exploratory=False)
    assert [one.look for one in answers] == [verdict.look for verdict in given.verdicts]
    low, high = effect_limits(given.verdicts)
    bounds = [v for verdict in given.verdicts for v in verdict.claimed_bounds]
    assert low < min(bounds) and max(bounds) < high
