"""`orchestrator.plan.plan`: runs, packs, the clean-contrast proof, the plan document."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.config import DecoderConfig, override, pack_key
from decoder.errors import ConfigError
from orchestrator.plan.contrasts import prove_contrasts
from orchestrator.plan.document import PlanDocument, plan_document
from orchestrator.plan.packs import busy_time, packs_to_train
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.plan.recordings import Recordings
from orchestrator.spec.arms import make_arms
from orchestrator.spec.load import AblationSpec, Loaded

Load = Callable[..., Loaded]
PlanOf = Callable[..., Plan]


def test_every_arm_and_seed_is_one_run_in_exactly_one_pack(load: Load, plan_of: PlanOf) -> None:
    plan = plan_of(load())
    assert len(plan.runs) == 12
    assert len({(run.arm_id, run.seed) for run in plan.runs}) == 12
    packed = [run.run_id for pack in plan.packs for run in pack.runs]
    assert sorted(packed) == sorted({run.run_id for run in plan.runs})


def test_a_pack_has_one_seed_and_one_shape(load: Load, plan_of: PlanOf) -> None:
    widths = {"small": {"model.n_units": 8}, "wide": {"model.n_units": 16}}
    loaded = load({"factors/width": widths, "hypotheses": {}})
    for pack in plan_of(loaded).packs:
        assert {run.seed for run in pack.runs} == {pack.seed}
        assert {pack_key(run.config) for run in pack.runs} == {pack.shape}


def test_configurations_in_packs_are_resolved(load: Load, plan_of: PlanOf) -> None:
    plan = plan_of(load())
    for pack in packs_to_train(plan.packs, ()):
        for run in pack.runs:
            assert run.config.optim.lr_decay_steps == 60
            assert run.config.optim.lr_max_day == run.config.optim.lr_max


def test_pack_ids_survive_recorded_runs(load: Load, plan_of: PlanOf) -> None:
    plan = plan_of(load())
    first = packs_to_train(plan.packs, ())
    done = {first[0].runs[0].run_id, *(run.run_id for run in first[1].runs)}
    left = {pack.pack_id: pack for pack in packs_to_train(plan.packs, done)}
    assert set(left) == {pack.pack_id for pack in (first[0], *first[2:])}
    assert left[first[0].pack_id].runs == first[0].runs[1:]


def test_nothing_is_left_when_all_is_recorded(load: Load, plan_of: PlanOf) -> None:
    plan = plan_of(load())
    assert packs_to_train(plan.packs, set(plan.distinct)) == []


def test_the_longest_pack_comes_first(load: Load, plan_of: PlanOf) -> None:
    lengths = {"short": {"train.n_steps": 60}, "long": {"train.n_steps": 600}}
    loaded = load({"factors/length": lengths, "hypotheses": {}, "seeds": [0]})
    packs = packs_to_train(plan_of(loaded, n_workers=2).packs, ())
    work = [sum(run.config.train.n_steps for run in pack.runs) for pack in packs]
    assert len(packs) == 2
    assert work == sorted(work, reverse=True)


def test_one_seed_is_split_so_that_all_workers_are_busy(load: Load, plan_of: PlanOf) -> None:
    plan = plan_of(load({"seeds": [7]}), n_workers=4)
    assert [len(pack.runs) for pack in plan.packs] == [1, 1, 1, 1]


def test_seeds_that_fill_the_workers_evenly_are_not_split(load: Load, plan_of: PlanOf) -> None:
    assert [len(p.runs) for p in plan_of(load({"seeds": [1, 2]}), n_workers=2).packs] == [4, 4]


@given(n_workers=st.integers(1, 9), max_runs=st.integers(1, 6), n_seeds=st.integers(1, 5))
def test_packs_keep_within_their_limit_and_lose_nothing(
    n_workers: int, max_runs: int, n_seeds: int
) -> None:
    loaded = _hypothesis_loaded(n_seeds)
    plan = make_plan(loaded, {a.arm_id: _INFO for a in loaded.arms}, n_workers, max_runs)
    assert all(1 <= len(pack.runs) <= max_runs for pack in plan.packs)
    assert len(plan.distinct) == len(plan.runs)
    assert len({pack.pack_id for pack in plan.packs}) == len(plan.packs)


def test_two_arms_that_resolve_to_one_configuration_share_a_run(
    load: Load, plan_of: PlanOf
) -> None:
    plan = plan_of(load({"extra_arms": {"again": {"levels": {"noise": "weak", "rate": "low"}}}}))
    assert len(plan.runs) == 15
    assert len(plan.distinct) == 12
    ids = {(run.arm_id, run.seed): run.run_id for run in plan.runs}
    assert ids["again", 1] == ids["weak+low", 1]


def test_a_run_id_depends_on_the_recordings(load: Load, data_info: Recordings) -> None:
    loaded = load()
    one, other = (
        make_plan(loaded, {arm.arm_id: info for arm in loaded.arms}, 2)
        for info in (data_info, replace(data_info, fingerprint="0" * 16))
    )
    assert set(one.distinct).isdisjoint(other.distinct)


def test_arms_on_different_recordings_never_share_a_pack(load: Load, data_info: Recordings) -> None:
    subsets = {"all": {}, "half": {"data.feature_subset": [0, 1, 2]}}
    loaded = load({"factors/noise": subsets, "hypotheses": {}})
    half = replace(data_info, fingerprint="0" * 16, n_features=3)
    data = {a.arm_id: half if a.levels["noise"] == "half" else data_info for a in loaded.arms}
    plan = make_plan(loaded, data, 1)
    assert all(len({run.data for run in pack.runs}) == 1 for pack in plan.packs)
    assert len(plan_document(plan).datasets) == 2


def test_the_proof_names_what_differs(load: Load) -> None:
    proofs = prove_contrasts(load())
    assert [(p.hypothesis, p.from_arm, p.to_arm) for p in proofs] == [
        ("weak_hurts", "official+high", "weak+high"),
        ("only_when_slow", "official+high", "weak+high"),
        ("only_when_slow", "official+low", "weak+low"),
        ("only_when_slow", "official+high", "official+low"),
        ("only_when_slow", "weak+high", "weak+low"),
    ]
    assert proofs[0].changed == {"augment.white_noise_std": (1.0, 0.25)}


def test_contrast_that_differs_in_another_path_is_refused(load: Load) -> None:
    loaded = load()
    arms = [
        replace(arm, config=override(arm.config, {"optim.epsilon": 1e-8}, ""))
        if arm.arm_id == "weak+high"
        else arm
        for arm in loaded.arms
    ]
    with pytest.raises(ConfigError) as caught:
        prove_contrasts(replace(loaded, arms=tuple(arms)))
    for name in ("hypotheses.weak_hurts: ", "official+high", "weak+high", "'noise'"):
        assert name in caught.value.problems[0]
    assert caught.value.problems[0].endswith("optim.epsilon")
    assert len(caught.value.problems) == 3  # the simple effect, and two sides of the interaction


def test_a_value_that_follows_the_factor_is_part_of_the_contrast(load: Load) -> None:
    claim = {
        "claim": "x", "contrast": {"factor": "rate", "from": "high", "to": "low"},
        "where": {"noise": "weak"}, "outcome": "per", "direction": "increase", "margin": 0.1,
    }  # fmt: skip
    follow = {"optim.lr_max_day": "${optim.lr_max}", "optim.lr_min_day": "${optim.lr_min}"}
    (proof,) = prove_contrasts(load({"set": follow, "hypotheses": {"h": claim}}))
    assert proof.changed["optim.lr_max_day"] == (0.005, 0.002)
    # Following another path than the factor's, by a level's own doing, is the level's setting.
    crooked = {"optim.lr_max": 0.002, "optim.epsilon": "${augment.white_noise_std}"}
    (proof,) = prove_contrasts(load({"factors/rate/low": crooked, "hypotheses": {"h": claim}}))
    assert proof.changed["optim.epsilon"] == (0.1, 0.25)


def test_value_that_follows_another_factor_is_not_part_of_the_contrast(load: Load) -> None:
    loaded = load({"set": {"optim.epsilon": "${augment.white_noise_std}"}})
    assert "optim.epsilon" in prove_contrasts(loaded)[0].changed  # of the noise
    rate = next(
        p
        for p in prove_contrasts(loaded)
        if "rate" not in p.hypothesis
        and p.from_arm == "official+high"
        and p.to_arm == "official+low"
    )
    assert "optim.epsilon" not in rate.changed


def test_contrast_that_only_writes_out_a_default_is_refused(load: Load, plan_of: PlanOf) -> None:
    same = {"unsaid": {}, "said": {"optim.lr_decay_steps": 60}}
    loaded = load({"factors": {"decay": same}, "hypotheses": {"h": {
        "claim": "x", "contrast": {"factor": "decay", "from": "unsaid", "to": "said"},
        "outcome": "per", "direction": "increase", "margin": 0.1}}})  # fmt: skip
    with pytest.raises(
        ConfigError,
        match=r"question.yaml: hypotheses.h: .*optim.lr_decay_steps",
    ):
        plan_of(loaded)


def test_the_plan_document_is_json_and_loses_nothing(load: Load, plan_of: PlanOf) -> None:
    loaded = load()
    document = plan_document(plan_of(loaded), ("weak_hurts",))
    kept = PlanDocument.model_validate_json(document.model_dump_json(by_alias=True))
    assert kept == document
    assert kept.spec == loaded.spec and kept.compared == loaded.compared
    assert kept.dataset.n_train_trials == 24
    assert kept.lock_changed == ("weak_hurts",)
    assert {run.arm_id for run in kept.runs} == {arm.arm_id for arm in kept.arms}


def test_a_plan_of_an_older_version_is_read(load: Load, plan_of: PlanOf) -> None:
    """Before there were blocks, several recordings, aliases and the greedy path."""
    text = plan_document(plan_of(load())).model_dump_json(by_alias=True)
    older = json.loads(text)
    for key in ("datasets", "aliases", "packs", "contrasts"):
        del older[key]
    for run in older["runs"]:
        del run["block"]
    for arm in older["arms"]:
        del arm["candidate"], arm["replicate"], arm["seed_offset"]
    older["hypotheses_lock"] = {"of a version": "in between"}
    kept = PlanDocument.model_validate_json(json.dumps(older))
    assert kept.all_recordings == (kept.dataset,)
    assert all(run.block == run.seed for run in kept.runs)


def test_of_ten_thousand_runs_those_recorded_are_left_out(load: Load, plan_of: PlanOf) -> None:
    factors = {
        name: {f"l{i}": {path: (i + 1) / 100} for i in range(10)}
        for name, path in (("a", "optim.epsilon"), ("b", "optim.beta1"), ("c", "optim.beta2"))
    }
    loaded = load({"factors": factors, "hypotheses": {}, "seeds": list(range(10))})
    plan = plan_of(loaded, n_workers=8)
    packs = packs_to_train(plan.packs, set(list(plan.distinct)[::2]))
    assert len(plan.distinct) == 10_000
    assert sum(len(pack.runs) for pack in packs) == 5_000


def test_jobs_are_dealt_to_whoever_is_free() -> None:
    assert busy_time([3, 3, 2, 2, 2], 2) == 7  # 3+2+2 and 3+2
    assert busy_time([], 3) == 0
    assert busy_time([5], 4) == 5


_INFO = Recordings(
    fingerprint="a" * 16, path="x", folder=Path("x"), sessions=("s",),
    n_train_trials=1, n_val_trials=1, n_features=16, n_classes=41, bin_ms=20,
)  # fmt: skip


def _hypothesis_loaded(n_seeds: int) -> Loaded:
    """Five arms without files, for tests that hypothesis calls many times."""
    spec = AblationSpec.model_validate(
        {
            "name": "q", "question": "?", "base": "b", "seeds": list(range(n_seeds)),
            "factors": {"f": {f"l{i}": {"optim.epsilon": (i + 1) / 10} for i in range(5)}},
        }
    )  # fmt: skip
    return Loaded(spec, DecoderConfig(), Path("q.yaml"), make_arms(spec, DecoderConfig()))


def test_a_model_that_is_too_large_with_its_recordings_is_refused(
    load: Load, data_info: Recordings
) -> None:
    loaded = load(base={"model/patch_size": 1000, "model/n_units": 8192})
    data = replace(data_info, n_features=512)
    with pytest.raises(ConfigError, match=r"parameters .*512 features") as caught:
        make_plan(loaded, {arm.arm_id: data for arm in loaded.arms}, 2)
    assert len(caught.value.problems) == len(loaded.arms)
    assert make_plan(loaded, {arm.arm_id: data_info for arm in loaded.arms}, 2).runs
