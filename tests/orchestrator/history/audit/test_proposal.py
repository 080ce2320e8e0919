"""`orchestrator.history.audit.proposal`: the proposed ablation, or why there is none."""

from pathlib import Path

from imported_runs import AuditRuns, WriteRun, mentions

from orchestrator.history.audit.audit import Audit
from orchestrator.history.audit.proposal import Proposal, write_proposal
from orchestrator.spec.load import load_spec


def test_the_proposal_loads_and_separates_the_three_changes(planted: Audit, tmp_path: Path) -> None:
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
    assert len(loaded.spec.seeds) == len(proposal.ablation.seeds) >= 7
    # It recommends more repeats first only if the power is low.
    assert proposal.power is not None
    assert mentions(proposal.sentences, "Cheaper first") == (proposal.power < 0.8)
    assert {claim.direction for claim in loaded.spec.hypotheses.values()} == {"increase"}


def test_settings_without_a_field_are_left_out_and_named(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.3, epsilon=0.2, my_own_trick=True)
    proposal = audit_runs().proposal
    assert isinstance(proposal, Proposal)
    assert [change.name for change in proposal.left_out] == ["my_own_trick"]
    assert proposal.ablation.design == "one_factor"
    assert mentions(proposal.sentences, "Left out", "my_own_trick")
    assert proposal.base["train"]["eval_every_steps"] == 30
    assert mentions(proposal.sentences, "30 steps", "2,000")


def test_without_a_difference_there_is_a_reason_and_no_proposal(
    write_run: WriteRun, audit_runs: AuditRuns
) -> None:
    write_run("run1", 0.2)
    write_run("run2", 0.21)
    proposal = audit_runs().proposal
    assert isinstance(proposal, str) and "differ" in proposal
