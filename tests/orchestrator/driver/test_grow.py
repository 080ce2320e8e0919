"""`orchestrator.driver.grow` in a run: rounds are planned from records, also after a stop."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from small_ablation import Rebuilds

from decoder.pack import Pack, Progress, Run
from orchestrator.driver.run import AblationOutcome, run_ablation
from orchestrator.execute.backends import Execution, PackEvent, PackFailed
from orchestrator.execute.machine import Options
from orchestrator.execute.stopping import Stopped
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.recordings import PrepareData
from orchestrator.spec.arms import GreedyCandidate
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.tables import runs_table

FACTORS = {
    "a": {"off": {"augment.white_noise_std": 1.0}, "on": {"augment.white_noise_std": 0.5}},
    "b": {"off": {"optim.lr_max": 0.005}, "on": {"optim.lr_max": 0.002}},
    "c": {"off": {"optim.epsilon": 0.1}, "on": {"optim.epsilon": 0.2}},
}
# By hand, as in test_greedy: c, then b, then a.
PER = {"": 0.50, "a": 0.45, "b": 0.48, "c": 0.40, "ab": 0.44, "ac": 0.41, "bc": 0.30, "abc": 0.33}
CLAIM = {
    "claim": "x", "contrast": {"factor": "a", "from": "off", "to": "on"},
    "outcome": "per", "direction": "decrease", "margin": 0.02,
}  # fmt: skip
SPEC = {
    "factors": FACTORS, "design": "path", "greedy": {"outcome": "per", "direction": "decrease"},
    "hypotheses": {"first": CLAIM}, "seeds": [0, 1],
}  # fmt: skip

OnEvent = Callable[[PackEvent], None]


def changed(run: Run) -> str:
    """The changes that a run has, such as ``ab``."""
    config = run.config
    on = {
        "a": config.augment.white_noise_std == 0.5,
        "b": config.optim.lr_max == 0.002,
        "c": config.optim.epsilon == 0.2,
    }
    return "".join(name for name, is_on in on.items() if is_on)


class Trainer:
    """Pretends to train; can stop after some packs, and can fail one combination of changes."""

    def __init__(self, make_result: Any) -> None:
        self.make_result = make_result
        self.calls: list[list[str]] = []
        self.trained: list[str] = []
        self.stop_after: int | None = None
        self.fails = ""

    def __call__(self, packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        self.calls.append([changed(run) for pack in packs for run in pack.runs])
        for pack in packs:
            if self.stop_after == 0:
                raise Stopped(15)
            if self.stop_after is not None:
                self.stop_after -= 1
            bad = [run for run in pack.runs if self.fails and changed(run) == self.fails]
            if bad:
                ids = tuple(run.run_id for run in bad)
                on_event(PackEvent(pack.pack_id, PackFailed(ids, "out of memory", 3)))
            self.trained += [run.run_id for run in pack.runs if run not in bad]
            finished = [self.result(run, len(pack.runs)) for run in pack.runs if run not in bad]
            on_event(PackEvent(pack.pack_id, Progress(60, {}, finished)))

    def result(self, run: Run, n_runs: int) -> Any:
        result = self.make_result(run, n_runs=n_runs)
        rows = tuple({**row, "per": PER[changed(run)]} for row in result.history)
        return replace(result, history=rows)


@pytest.fixture
def trainer(make_result: Any) -> Trainer:
    return Trainer(make_result)


@pytest.fixture
def go(
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    console: Console,
    rebuilt: Rebuilds,
    describe: PrepareData,
    trainer: Trainer,
) -> Callable[..., AblationOutcome]:
    return lambda changes=None: run_ablation(
        load({**SPEC, **(changes or {})}),
        results,
        replace(options, backend="ray"),  # which gives the backend all packs in one call
        console,
        backend=trainer,
        describe=describe,
        rebuild=rebuilt,
    )


def document_of(results: Results) -> PlanDocument:
    return read_plan(results, "question")


def test_the_stated_path_is_trained_first_and_then_one_round_after_another(
    go: Callable[..., AblationOutcome], trainer: Trainer, results: Results
) -> None:
    outcome = go()
    assert [sorted(set(call)) for call in trainer.calls] == [
        ["", "a", "ab", "abc"],
        ["b", "c"],
        ["ac", "bc"],
    ]
    assert (outcome.exit_code, outcome.n_runs, outcome.n_trained) == (0, 16, 16)
    arms = {arm.arm_id: arm for arm in document_of(results).arms}
    assert list(arms)[4:] == ["base+b", "base+c", "base+a+c", "base+b+c"]
    assert [arm.in_design for arm in arms.values()] == [True] * 4 + [False] * 4
    assert arms["base+b+c"].candidate == GreedyCandidate(2, "base+c")
    assert arms["base+b+c"].parent == "base+c"
    assert len(set(run.run_id for run in document_of(results).runs)) == 16
    trainer.calls.clear()
    again = go()
    assert trainer.calls == [] and again.n_runs == 16
    assert list(arms) == [arm.arm_id for arm in document_of(results).arms]


@pytest.mark.parametrize("n_packs", [0, 1, 2, 3, 4, 5])
def test_a_run_stopped_anywhere_ends_like_an_uninterrupted_run(
    go: Callable[..., AblationOutcome],
    trainer: Trainer,
    n_packs: int,
    rebuilt: list[Any],
) -> None:
    trainer.stop_after = n_packs
    stopped = go()
    assert stopped.exit_code == 143
    trainer.stop_after = None
    assert go().exit_code == 0
    assert [arm.arm_id for arm in rebuilt[-1][1].arms][4:] == [
        *("base+b", "base+c"),
        *("base+a+c", "base+b+c"),
    ]
    assert len(trainer.trained) == len(set(trainer.trained)) == 16, "each run is trained once"


def test_a_round_with_a_failed_run_waits_for_the_next_call(
    go: Callable[..., AblationOutcome], trainer: Trainer, rebuilt: list[Any]
) -> None:
    trainer.fails = "c"
    outcome = go()
    assert outcome.exit_code == 4
    assert [arm.arm_id for arm in rebuilt[-1][1].arms][4:] == ["base+b", "base+c"]
    trainer.fails = ""
    trainer.calls.clear()
    assert go().exit_code == 0
    assert [sorted(set(call)) for call in trainer.calls] == [["c"], ["ac", "bc"]]


def test_no_arm_of_the_greedy_path_is_part_of_a_hypothesis_or_its_lock(
    go: Callable[..., AblationOutcome], results: Results, rebuilt: list[Any]
) -> None:
    go()
    lock = json.loads(results.lock("question").read_text())
    go({"greedy": None})
    assert json.loads(results.lock("question").read_text()) == lock
    assert rebuilt[-1][1].lock_changed == ()
    assert len(rebuilt[-1][1].arms) == 4


def test_the_last_round_ends_at_the_last_arm_of_the_stated_path(
    go: Callable[..., AblationOutcome], results: Results
) -> None:
    from orchestrator.verdicts.greedy import greedy_rounds

    go()
    document = document_of(results)
    records = read_records(results, document.run_ids, print)
    histories = {run_id: read_history(results, run_id) for run_id in records}
    runs = runs_table(document, records, histories)
    rounds = greedy_rounds(document.spec, document.arms, runs)
    assert [one.chosen for one in rounds] == ["c", "b", "a"]
    assert rounds[-1].kept is not None and rounds[-1].kept.change.arm == "+c"
    assert [arm.arm_id for arm in document.arms if arm.in_design][-1] == "+c"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"design": "one_factor"}, ("greedy: ", "'path'", "'one_factor'")),
        ({"exclude": [{"a": "on"}]}, ("exclude: ", "'greedy'")),
        ({"greedy": {"outcome": "grad_norm"}}, ("greedy.outcome", "per")),
        ({"greedy": {"direction": "down"}}, ("greedy.direction", "decrease")),
        ({"greedy": {"by": "per"}}, ("greedy", "by")),
        (
            {
                "factors": {
                    "batch": {"4": {}, "8": {"data.batch_size": 8}},
                    "days": {"2": {}, "6": {"data.days_per_batch": 6}},
                },
                "hypotheses": {},
            },
            ("greedy: only days: ", "'greedy'"),
        ),
    ],
)
def test_a_greedy_path_that_cannot_be_trained_is_refused(
    problems: Callable[..., tuple[str, ...]], changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    found = "\n".join(problems({**SPEC, **changes}))
    assert all(word in found for word in words)
