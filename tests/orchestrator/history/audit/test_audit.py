"""`orchestrator.history.audit.audit`: every fault of the planted group has its finding."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imported_runs import AuditRuns, WriteRun, by_kind, mentions
from scipy import stats as oracle

from orchestrator.history.audit.audit import Audit, audit
from orchestrator.history.audit.findings import Weight, by_weight
from orchestrator.history.audit.proposal import Proposal
from orchestrator.history.reading.read_runs import read_group


def test_the_identical_pair_that_disagrees_comes_first(planted: Audit) -> None:
    finding = planted.findings[0]
    assert finding.kind == "identical_pair_disagrees"
    assert finding.runs == ("run1_baseline", "run5_rerun")
    assert (finding.figures["seed"], finding.figures["difference"]) == (10, pytest.approx(0.08))
    assert "8.0 points" in finding.title
    assert mentions(finding.details, "gpu_number")


def test_the_spread_of_repeats_sets_the_difference_that_chance_explains(planted: Audit) -> None:
    figures = by_kind(planted)["spread"].figures
    sd = float(np.std([0.2, 0.204], ddof=1))
    assert figures["sd"] == pytest.approx(sd)
    low, high = (sd / math.sqrt(oracle.chi2.ppf(p, 1)) for p in (0.975, 0.025))
    assert (figures["sd_low"], figures["sd_high"]) == pytest.approx((low, high))
    limit = oracle.t.ppf(0.975, 1) * sd * math.sqrt(2)
    assert figures["smallest_believable"] == pytest.approx(limit)
    assert figures["of"] == "seeds"
    assert "5.1 points" in by_kind(planted)["spread"].title


def test_the_run_that_changed_three_settings_is_listed_with_all_three(planted: Audit) -> None:
    finding = by_kind(planted)["confounded"]
    assert finding.runs == ("older/run4_everything",)
    (step,) = finding.figures["steps"]
    assert (step["run"], step["from"]) == ("older/run4_everything", "run3_noise_FINAL")
    assert step["difference"] == pytest.approx(0.05)
    assert [name.rpartition(".")[2] for name in step["changed"]] == [
        *("constant_offset_std", "lr_max", "lr_warmup_steps"),
    ]
    changes = ("constant_offset_std 0.2 → 0.05", "lr_max 0.005 → 0.002", "5.0 points higher")
    assert mentions(finding.details, *changes, "lr_warmup_steps 100 → 200")


def test_settings_tested_alone_are_listed_with_their_limits(planted: Audit) -> None:
    finding = by_kind(planted)["one_thing"]
    comparisons = {c["setting"].rpartition(".")[2]: c for c in finding.figures["comparisons"]}
    noise = comparisons["white_noise_std"]
    assert [(level["value"], level["per"]) for level in noise["levels"]] == [
        (0.25, pytest.approx(0.26)),
        (1.0, pytest.approx((0.2 + 0.204 + 0.28) / 3)),
    ]
    assert noise["more_than_chance"] is False
    assert comparisons["lr_max"]["more_than_chance"] is None
    assert comparisons["num_training_batches"]["more_than_chance"] is None
    assert mentions(finding.details, "white_noise_std", "26.0 %", "22.8 %", "4.4 points")
    assert mentions(finding.details, "white_noise_std", "doubt", "run1_baseline and run5_rerun")
    assert mentions(finding.details, "run8_lr_low collapsed", "run6_lr_high diverged")


@pytest.mark.parametrize(
    ("kind", "runs", "words"),
    [
        ("diverged", ["run6_lr_high"], ("val_loss", "500")),
        ("collapsed", ["run8_lr_low"], ("100.0 %", "95 % to 102 %")),
        ("unfinished", ["run7_epsilon"], ("400 of 1,000 (40 %)",)),
        ("unknown", ["run10_planned"], ()),
        ("restarted", ["run9_restarted"], ("1 restart", "600")),
        ("copies", ["run2_baseline (copy)"], ("run2_baseline_seed11",)),
        ("budgets", ["run1_baseline", "run13_short", "run7_epsilon"], ("step 499", "20.0 %")),
        ("reported_elsewhere", ["run9_restarted"], ("eval_best.json", "19.5 %", "1.5 points")),
        ("never_apart", [], ("constant_offset_std", "lr_warmup_steps")),
        ("best_of_many", ["run1_baseline"], ("8",)),
        ("not_read", [], ("run11_lost_config",)),
        ("not_read", [], ("val_metrics.pkl", "run1_baseline")),
        ("not_read", [], ("loss.ctc_reduction", "optim.algorithm", "loss.zero_infinity")),
        ("not_read", [], ("run12_only_weights",)),
    ],
)
def test_every_other_planted_fault_has_its_finding(
    planted: Audit, kind: str, runs: list[str], words: tuple[str, ...]
) -> None:
    finding = by_kind(planted)[kind]
    assert list(finding.runs) == runs
    assert mentions(finding.details, *words, *runs[:1] * (kind not in ("best_of_many",)))


def test_configurations_with_one_seed_are_counted(planted: Audit) -> None:
    finding = by_kind(planted)["one_seed"]
    figures = finding.figures
    assert (figures["n_single"], figures["n_configurations"]) == (6, 7)
    assert figures["seeds"] == [10, 11]
    assert mentions(finding.details, "run1_baseline (2 seeds)")


def test_the_lowest_of_many_is_named_with_its_per(planted: Audit) -> None:
    assert by_kind(planted)["best_of_many"].figures == {"n": 8, "per": 0.2}


def test_the_heaviest_findings_come_first(planted: Audit) -> None:
    weights = [finding.weight for finding in planted.findings]
    assert weights == sorted(weights, key=list(Weight).index)
    in_groups = [finding for group in by_weight(planted.findings).values() for finding in group]
    assert in_groups == list(planted.findings)


def test_a_single_run_can_be_audited(write_run: WriteRun, audit_runs: AuditRuns) -> None:
    write_run("run1", 0.2)
    assert "no_spread" in by_kind(audit_runs())


def test_t12_runs_are_audited_under_their_own_names(t12_run: Callable[..., Path]) -> None:
    for name, noise in (("run1", 0.8), ("run2", 1.2)):
        pers = [(0, 1.0), (500, 0.5), (999, noise / 4)]
        root = t12_run(name, pers=pers, whiteNoiseSD=noise).parent
    audited = audit("t12", read_group(root))
    finding = by_kind(audited)["one_thing"]
    (comparison,) = finding.figures["comparisons"]
    assert comparison["setting"] == "whiteNoiseSD"
    assert [level["per"] for level in comparison["levels"]] == pytest.approx([0.2, 0.3])
    assert isinstance(audited.proposal, Proposal)


def test_imports_and_audits_load_nothing_heavy() -> None:
    code = (
        "import sys, orchestrator.history.audit.audit, orchestrator.history.audit.report\n"
        "import orchestrator.history.reading.store\n"
        "print(*[m for m in ('torch', 'ray', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""
