"""The audit, on a planted group: every fault that was put in is found, and said in numbers."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats as oracle
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.history.audit import listing
from orchestrator.history.audit.audit import Audit, audit, document
from orchestrator.history.audit.proposal import Proposal, write_proposal
from orchestrator.history.audit.spread import Spread, expected_best, pooled
from orchestrator.history.audit.telling import Finding
from orchestrator.history.reading.reading import read_group
from orchestrator.spec.load import load_spec

BASE = {
    "num_training_batches": 300,
    "lr_decay_steps": 300,
    "lr_max": 0.005,
    "lr_max_day": 0.005,
    "lr_min": 0.0001,
    "lr_min_day": 0.0001,
    "epsilon": 0.1,
    "weight_decay": 0.001,
    "seed": 10,
}

Write = Callable[..., None]
Look = Callable[[], Audit]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a run: its name, its final PER, and what it sets otherwise."""

    def make(name: str, final: float, n: int = 300, **changes: Any) -> None:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        args = {k: v for k, v in {**BASE, **changes}.items() if v is not ...}
        (folder / "args.yaml").write_text(yaml.safe_dump(args))
        pers = [(step, max(final, 1 - step / n)) for step in range(0, n, 100)] + [(n, final)]
        rows = [{"step": step, "per": per, "name": name} for step, per in pers]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return make


@pytest.fixture
def look(tmp_path: Path) -> Look:
    return lambda: audit("runs", read_group(tmp_path / "runs"))


def kinds(found: Audit) -> dict[str, Finding]:
    """Finding by kind; those of the planted group are one of each."""
    return {finding.kind: finding for finding in found.findings}


def said(finding: Finding) -> str:
    return " ".join((finding.title, *finding.details))


# ------------------------------------------------------------------------- the planted group


@pytest.fixture
def planted(group: Path) -> Audit:
    return audit("planted", read_group(group))


def test_the_identical_pair_that_disagrees_is_found_first(planted: Audit) -> None:
    found = planted.findings[0]
    assert found.kind == "identical_pair_disagrees"
    assert found.runs == ("run1_baseline", "run5_rerun")
    assert "same settings and the same seed (10), yet end 8.0 points apart" in found.title
    assert "They differ in gpu_number, which cannot change a result" in said(found)


def test_the_spread_that_repeats_show_sets_the_smallest_believable_difference(
    planted: Audit,
) -> None:
    figures = kinds(planted)["spread"].figures
    sd = float(np.std([0.2, 0.204], ddof=1))
    assert figures["sd"] == pytest.approx(sd)
    low, high = (sd / math.sqrt(oracle.chi2.ppf(p, 1)) for p in (0.975, 0.025))
    assert (figures["sd_low"], figures["sd_high"]) == pytest.approx((low, high))
    limit = oracle.t.ppf(0.975, 1) * sd * math.sqrt(2)
    assert figures["smallest_believable"] == pytest.approx(limit)
    assert "more than 5.1 points" in kinds(planted)["spread"].title


def test_the_step_that_changed_three_things_is_told_with_all_three(planted: Audit) -> None:
    text = said(kinds(planted)["confounded"])
    assert "older/run4_everything changed 3 things from run3_noise_FINAL" in text
    for change in (
        "constant_offset_std 0.2 → 0.05",
        "lr_max 0.005 → 0.002 (and 1 setting that goes with it)",
        "lr_warmup_steps 100 → 200 (and 1 setting that goes with it)",
        "5.0 points higher",
    ):
        assert change in text


def test_what_was_tested_alone_is_told_with_its_limits(planted: Audit) -> None:
    text = said(kinds(planted)["one_thing"])
    assert "white_noise_std at 0.25: 26.0 % (run3_noise_FINAL) and 1: 22.8 %" in text
    assert "within the 4.4 points that chance makes, so nothing is shown" in text
    assert "run1_baseline and run5_rerun are equal in settings and seed and disagree" in text
    assert "run8_lr_low collapsed and run6_lr_high diverged" in text


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("diverged", ("run6_lr_high: val_loss is not finite from step 500 on",)),
        ("collapsed", ("run8_lr_low: PER is 100.0 %", "may leave it later")),
        ("unfinished", ("run7_epsilon: it ends at step 400 of 1,000 (40%)",)),
        ("restarted", ("run9_restarted: 1 restart", "steps go back once (from 600)")),
        ("copies", ("run2_baseline (copy) is run2_baseline_seed11 again",)),
        ("one_seed", ("6 of 7 configurations rest on one seed", "run1_baseline (2 seeds)")),
        ("budgets", ("run1_baseline ends at step 999 with 20.0 %, run13_short at step 499",)),
        ("reported_elsewhere", ("eval_best.json says 19.5 %, 1.5 points lower",)),
        ("never_apart", ("constant_offset_std and lr_warmup_steps",)),
        ("best_of_many", ("lowest of 8 runs is run1_baseline with 20.0 %",)),
        (
            "not_read",
            (
                "No settings, so in no comparison: run11_lost_config",
                "val_metrics.pkl of run1_baseline",
                "loss.ctc_reduction, optim.algorithm and loss.zero_infinity are not among",
                "run12_only_weights: neither settings nor a course",
            ),
        ),
    ],
)
def test_every_other_planted_fault_is_found(
    planted: Audit, kind: str, texts: tuple[str, ...]
) -> None:
    text = said(kinds(planted)[kind])
    for expected in texts:
        assert expected in text


def test_findings_come_by_what_they_weigh(planted: Audit) -> None:
    weights = [finding.weight for finding in planted.findings]
    assert weights == sorted(weights)


def test_the_proposal_loads_and_tests_the_three_things_apart(
    planted: Audit, tmp_path: Path
) -> None:
    proposal = planted.proposal
    assert isinstance(proposal, Proposal)
    path = tmp_path / "next" / "ablation.yaml"
    write_proposal(path, proposal, "planted")
    loaded = load_spec(path)
    assert loaded.spec.design == "leave_one_out"
    assert set(loaded.spec.factors) == {"constant_offset_std", "lr_max", "lr_warmup_steps"}
    assert loaded.spec.factors["lr_max"]["0.002"] == {
        "optim.lr_max": 0.002,
        "optim.lr_max_day": 0.002,
    }
    assert loaded.base.augment.white_noise_std == 0.25  # as in the run it starts from
    assert len(loaded.spec.seeds) == proposal.n_seeds >= 7
    # With too little power it says what to do first, and only then.
    assert proposal.power is not None
    assert ("Cheaper first" in " ".join(proposal.reasons)) == (proposal.power < 0.8)
    assert {claim.direction for claim in loaded.spec.hypotheses.values()} == {"increase"}


def test_the_report_names_every_run_and_escapes_what_is_markup(planted: Audit) -> None:
    text = listing.markdown(planted)
    for run in planted.lineup.runs:
        assert run.name.replace("_", "\\_") in text
    assert "## How this was told" in text
    assert "These differ but cannot change a result: gpu\\_number" in text
    assert json.loads(json.dumps(document(planted), allow_nan=False))["steps"]


# ----------------------------------------------------------------------------- one by one


def test_settings_that_follow_each_other_count_as_one_thing(write: Write, look: Look) -> None:
    write("run1", 0.2)
    write("run2", 0.3, lr_max=0.002, lr_max_day=0.002)
    (cluster,) = look().lineup.clusters
    assert cluster.change.paths == ("optim.lr_max", "optim.lr_max_day")


def test_learning_rates_that_part_count_as_two(write: Write, look: Look) -> None:
    write("run1", 0.2)
    write("run2", 0.3, lr_max=0.002, lr_max_day=0.001)
    (step,) = look().lineup.steps
    assert len(step.changes) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"output_dir": "a/b", "gpu_number": "3", "batches_per_train_log": 7},
        {"num_dataloader_workers": 8, "wandb_project": "x", "save_best_checkpoint": False},
        {"use_specaug": False, "init_from_checkpoint": None},
        {"lr_max": "5e-3", "weight_decay": 1e-3},
        {"dataset_dir": "/elsewhere/hdf5_data_final"},
    ],
)
def test_settings_that_cannot_change_a_result_do_not_count(
    write: Write, look: Look, changes: Mapping[str, Any]
) -> None:
    first = {"dataset_dir": "../data/hdf5_data_final"} if "dataset_dir" in changes else {}
    write("run1", 0.2, **first)
    write("run2", 0.3, **changes)
    assert len(look().lineup.arms) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 1e-8},
        {"log_transform": True},
        {"my_own_trick": 3},
        {"git_commit": "abc"},
        {"use_amp": False},
    ],
)
def test_settings_that_may_change_a_result_count(
    write: Write, look: Look, changes: Mapping[str, Any]
) -> None:
    write("run1", 0.2)
    write("run2", 0.3, **changes)
    found = look()
    assert len(found.lineup.arms) == 2
    assert len(found.lineup.steps[0].changes) == 1


def test_a_text_that_is_another_one_in_every_run_is_a_name_of_it(write: Write, look: Look) -> None:
    for index in range(4):
        write(f"run{index}", 0.2 + index / 100, uuid=f"x{index}", git_commit=f"c{index % 2}")
    found = look().lineup
    assert found.labels == {"uuid"}
    assert len(found.arms) == 2


def test_a_name_counts_where_it_chooses_something(write: Write, look: Look) -> None:
    write("run1", 0.2, title="first", loss={"name": "ctc"})
    write("run2", 0.3, title="second", loss={"name": "focal"})
    (change,) = look().lineup.steps[0].changes
    assert change.name == "loss.name"


def test_recordings_of_another_name_are_a_difference(write: Write, look: Look) -> None:
    write("run1", 0.2, dataset_dir="/a/hdf5_data_final")
    write("run2", 0.3, dataset_dir="/a/hdf5_data_2024")
    (change,) = look().lineup.steps[0].changes
    assert (change.key, change.before) == ("data", "hdf5_data_final")


def test_a_variant_of_the_baseline_is_held_against_it_and_not_against_its_neighbour(
    write: Write, look: Look
) -> None:
    write("run1", 0.2)
    write("run2", 0.3, epsilon=1e-8)
    write("run3", 0.25, weight_decay=0.1)
    last = look().lineup.steps[-1]
    assert (last.before.name, len(last.changes)) == ("run2", 2)
    assert (last.closest.name, len(last.from_closest)) == ("run1", 1)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("run10_b", "run9_a", "exp2"), "numbers"),
        (("2025-03-02_b", "2025-03-01_a", "2025-01-09_c"), "time stamps"),
        (("final", "final_v2", "best"), "last changed"),
    ],
)
def test_the_order_is_told_with_its_reason(
    write: Write, look: Look, names: tuple[str, ...], order: str
) -> None:
    for index, name in enumerate(names):
        write(name, 0.2, epsilon=0.1 * (index + 1))
    lineup = look().lineup
    assert order in lineup.order
    if order != "last changed":
        assert [run.name for run in lineup.runs] == list(reversed(names))


def test_equal_runs_that_differ_a_little_are_the_machine(write: Write, look: Look) -> None:
    write("run1", 0.200)
    write("run2", 0.202)
    found = kinds(look())
    assert "identical_pair_disagrees" not in found
    assert "up to 0.20 points: that much the machine alone changes" in found["machine_noise"].title
    assert found["spread"].figures["of"] == "same seed"
    assert "the true limit is higher" in said(found["spread"])


def test_runs_that_repeat_exactly_tell_no_spread(write: Write, look: Look) -> None:
    write("run1", 0.2)
    write("run2", 0.2)
    found = kinds(look())
    assert "spread" not in found
    assert "equal seeds repeat exactly" in found["no_spread"].title


def test_an_equal_run_that_collapsed_disagrees_whatever_the_spread(
    write: Write, look: Look
) -> None:
    write("run1", 0.2)
    write("run2", 1.0)
    assert "identical_pair_disagrees" in kinds(look())


def test_seeds_that_change_nothing_are_found(write: Write, look: Look) -> None:
    write("run1", 0.2)
    write("run2", 0.2, seed=11)
    assert "was not used" in kinds(look())["seed_without_effect"].title


def test_a_course_under_other_settings_is_no_copy_but_a_contradiction(
    write: Write, look: Look, tmp_path: Path
) -> None:
    write("run1", 0.2)
    write("run2", 0.3, epsilon=1e-8)
    course = (tmp_path / "runs" / "run1" / "metrics.jsonl").read_bytes()
    (tmp_path / "runs" / "run2" / "metrics.jsonl").write_bytes(course)
    found = look()
    assert not found.lineup.copies
    assert "run1 and run2: epsilon 0.1 → 1e-08" in said(kinds(found)["same_course"])


def test_a_run_that_began_from_weights_is_told(write: Write, look: Look) -> None:
    write("run1", 0.2)
    write("run2", 0.1, init_from_checkpoint=True, init_checkpoint_path="run1/best")
    assert "run2: init_from_checkpoint is True" in said(kinds(look())["from_checkpoint"])


def test_an_order_that_depends_on_best_or_last_is_told(
    write: Write, look: Look, tmp_path: Path
) -> None:
    write("run1", 0.20)
    write("run2", 0.21, epsilon=0.2)
    path = tmp_path / "runs" / "run2" / "metrics.jsonl"
    path.write_text(
        path.read_text().replace('"step": 200, "per": 0.33', '"step": 200, "per": 0.15')
    )
    assert "order turns round for run1 and run2" in said(kinds(look())["best_or_final"])


def test_where_nothing_differs_alone_that_is_said(write: Write, look: Look) -> None:
    write("run1", 0.2)
    write("run2", 0.3, epsilon=0.2, weight_decay=0.1)
    write("run3", 0.25, epsilon=0.3, weight_decay=0.2)
    found = kinds(look())
    assert "No two of 3 configurations differ in one thing only" in found["no_clean_pair"].title
    assert "epsilon and weight_decay" in said(found["never_apart"])


def test_settings_without_a_field_here_are_left_out_of_the_proposal_and_told(
    write: Write, look: Look
) -> None:
    write("run1", 0.2)
    write("run2", 0.3, epsilon=0.2, my_own_trick=True)
    proposal = look().proposal
    assert isinstance(proposal, Proposal)
    assert [change.name for change in proposal.left_out] == ["my_own_trick"]
    assert proposal.document["design"] == "one_factor"
    text = " ".join(proposal.reasons)
    assert "Not in it, as no field here says it: my_own_trick" in text
    assert "evaluated every 30 steps instead of every 2,000" in text


def test_without_anything_to_vary_the_proposal_says_why(write: Write, look: Look) -> None:
    write("run1", 0.2)
    write("run2", 0.21)
    assert look().proposal == "None: no two runs differ in a setting that counts."


def test_a_single_run_is_audited_without_complaint(write: Write, look: Look) -> None:
    write("run1", 0.2)
    assert "no_spread" in kinds(look())


def test_t12_runs_are_audited_in_their_own_words(t12_run: Callable[..., Path]) -> None:
    for name, noise in (("run1", 0.8), ("run2", 1.2)):
        root = t12_run(
            name, pers=[(0, 1.0), (500, 0.5), (999, noise / 4)], whiteNoiseSD=noise
        ).parent
    found = audit("t12", read_group(root))
    assert "whiteNoiseSD at 0.8: 20.0 % (run1) and 1.2: 30.0 %" in said(kinds(found)["one_thing"])
    assert isinstance(found.proposal, Proposal)


# ------------------------------------------------------------------------------- statistics


def test_the_pooled_spread_is_that_within_groups() -> None:
    groups = [[0.1, 0.12, 0.11], [0.3, 0.34], [0.5]]
    spread = pooled(groups)
    assert spread is not None
    squares = sum(np.var(g, ddof=1) * (len(g) - 1) for g in groups if len(g) > 1)
    assert spread.sd == pytest.approx(math.sqrt(squares / 3))
    assert (spread.freedom, spread.n_runs, spread.n_arms) == (3, 5, 2)
    assert pooled([[0.1], [0.2]]) is None


def test_pairs_of_runs_of_one_truth_pass_the_limit_once_in_twenty() -> None:
    rng = np.random.default_rng(7)
    n_beyond = n_pairs = 0
    for _ in range(400):
        spread = pooled(rng.normal(0.2, 0.01, (2, 3)).tolist())
        assert isinstance(spread, Spread)
        pairs = rng.normal(0.2, 0.01, (25, 2))
        n_beyond += int((np.abs(np.diff(pairs)) > spread.believable()).sum())
        n_pairs += len(pairs)
    assert n_beyond / n_pairs == pytest.approx(0.05, abs=0.01)


def test_the_luck_of_the_best_grows_with_the_number_of_runs() -> None:
    assert expected_best(2, 1.0) == pytest.approx(1 / math.sqrt(math.pi))
    assert expected_best(24, 0.01) == pytest.approx(0.0195, abs=2e-4)


# -------------------------------------------------------------------------------- commands


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_imports_and_audits_load_nothing_heavy() -> None:
    code = (
        "import sys, orchestrator.history.audit.audit, orchestrator.history.audit.listing\n"
        "import orchestrator.history.reading.store\n"
        "print(*[m for m in ('torch', 'ray', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""


def test_importing_again_repeats_nothing_and_takes_up_what_changed(
    group: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    first = json.loads(call("import-runs", group, "--results", results, "--json").stdout)
    assert (first["name"], len(first["new"]), first["unchanged"]) == ("our-runs", 13, [])
    records = {path: path.stat().st_mtime_ns for path in (results / "imported/our-runs").iterdir()}
    again = json.loads(call("import-runs", group, "--results", results, "--json").stdout)
    assert (again["new"], again["changed"], len(again["unchanged"])) == ([], [], 13)
    assert records == {path: path.stat().st_mtime_ns for path in records}
    log = group / "run7_epsilon" / "metrics.jsonl"
    log.write_text(log.read_text().rpartition("\n")[0] + '\n{"step": 500, "per": 0.3}\n')
    (group / "run3_noise_FINAL").rename(group / "run3_noise_FINAL_v2")
    third = json.loads(call("import-runs", group, "--results", results, "--json").stdout)
    assert third["changed"] == ["run7_epsilon"]
    assert third["renamed"] == {"run3_noise_FINAL": "run3_noise_FINAL_v2"}
    assert len(list((results / "imported/our-runs").iterdir())) == len(records)


def test_a_record_that_is_torn_is_told_and_imported_again(group: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    call("import-runs", group, "--results", results, "--as", "g")
    (record,) = (results / "imported/g").glob("run1_baseline-*.json")
    record.write_bytes(record.read_bytes()[:100])
    seen = call("audit", "g", "--results", results)
    assert seen.exit_code == 0
    assert f"{record}: cannot be read" in seen.stderr
    again = json.loads(
        call("import-runs", group, "--results", results, "--as", "g", "--json").stdout
    )
    assert again["new"] == ["run1_baseline"]


@pytest.mark.parametrize("name", ["../evil", ".hidden", "a/b", "x" * 65, ""])
def test_names_that_lead_elsewhere_are_refused(group: Path, tmp_path: Path, name: str) -> None:
    done = call("import-runs", group, "--as", name, "--results", tmp_path / "results")
    assert done.exit_code == 2
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "evil").exists()


def test_two_folders_do_not_mix_under_one_name(group: Path, tmp_path: Path) -> None:
    results, other = tmp_path / "results", tmp_path / "other"
    (other / "run1").mkdir(parents=True)
    (other / "run1" / "metrics.jsonl").write_text('{"step": 1, "per": 0.5}\n')
    assert call("import-runs", group, "--as", "g", "--results", results).exit_code == 0
    done = call("import-runs", other, "--as", "g", "--results", results)
    assert done.exit_code == 2
    assert "choose another name with --as" in done.stderr


def test_folders_without_runs_and_names_without_groups_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, text in (
        (("import-runs", empty), "holds no run that could be read"),
        (("import-runs", tmp_path / "none"), "is no folder"),
        (("audit", "nobody"), "no group that was imported"),
    ):
        done = call(*arguments, "--results", tmp_path / "results")
        assert done.exit_code == 2
        assert text in done.stderr


def test_the_audit_of_a_folder_writes_report_and_proposal(group: Path, tmp_path: Path) -> None:
    results, path = tmp_path / "results", tmp_path / "next.yaml"
    done = call("audit", group, "--results", results, "--propose", path)
    assert done.exit_code == 0, done.stderr
    assert "OVERTURNS CONCLUSIONS" in done.stdout
    assert "yet end 8.0 points apart" in done.stdout
    report = results / "imported/our-runs/audit.md"
    assert report.read_text().startswith("# Audit of our-runs")
    assert len(load_spec(path).arms) == 5
    again = call("audit", "our-runs", "--results", results, "--propose", path)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    seen = json.loads(call("audit", "our-runs", "--results", results, "--json").stdout)
    assert seen["proposal"]["n_arms"] == 5
    assert {finding["kind"] for finding in seen["findings"]} >= {"spread", "confounded"}


def test_final_evaluations_without_a_course_are_compared_in_whole_sentences(
    tmp_path: Path, look: Look
) -> None:
    for name, noise, per in (("a", 0.8, 0.20), ("b", 1.2, 0.22)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "args.yaml").write_text(yaml.safe_dump({**BASE, "white_noise_std": noise}))
        (folder / "eval_val.json").write_text(json.dumps({"avg_PER": per}))
    (text,) = [d for f in look().findings if f.kind == "one_thing" for d in f.details[:1]]
    assert text.endswith("2.0 points apart; no repeat tells whether that is chance.")


def test_a_run_without_a_result_tests_nothing_alone(
    tmp_path: Path, write: Write, look: Look
) -> None:
    def told() -> list[str]:
        return [d for f in look().findings for d in f.details if "Tested alone elsewhere" in d]

    write("a", 0.10)
    write("b", 0.11, epsilon=1e-8)
    write("c", 0.12, lr_max=0.002, lr_max_day=0.002, epsilon=1e-4, weight_decay=0.01)
    (text,) = told()
    assert "epsilon (b and a)" in text or "epsilon (a and b)" in text
    (tmp_path / "runs" / "b" / "metrics.jsonl").unlink()
    assert not told()


def test_a_restart_is_named_where_equal_runs_disagree(
    tmp_path: Path, write: Write, look: Look
) -> None:
    write("a", 0.10)
    write("b", 0.20)
    course = tmp_path / "runs" / "b" / "metrics.jsonl"
    course.write_text(course.read_text() * 2)
    (finding,) = [f for f in look().findings if f.kind == "identical_pair_disagrees"]
    assert "b was restarted into, which alone may have changed the end." in finding.details[0]


def test_a_folder_that_is_not_there_is_called_that(tmp_path: Path) -> None:
    result = call("audit", tmp_path / "runs", "--results", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path / 'runs'}: is no folder" in result.stderr
