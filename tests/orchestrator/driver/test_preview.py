"""The preview of a plan, its document and its tables: cost, power, spreads and rates."""

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from stored_pairs import change_record, records_of
from typer.testing import CliRunner

from decoder.errors import ConfigError
from decoder.memory import PROCESS_BYTES
from decoder.pack import RunResult
from orchestrator.cli.app import app
from orchestrator.cli.plan_view import preview_document, print_preview
from orchestrator.driver import room
from orchestrator.driver.preview import Preview, make_preview
from orchestrator.driver.priors import find_spreads, pooled_spread
from orchestrator.execute.machine import Options
from orchestrator.execute.memory_limits import FreeMemory
from orchestrator.plan.plan import Plan
from orchestrator.plan.recordings import PrepareData, Recordings, prepare_data
from orchestrator.spec.arms import Arm
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import make_record, recent_records, write_run
from orchestrator.store.paths import Results
from orchestrator.store.provenance import environment

Load = Callable[..., Loaded]
SEEDS = list(range(8))


@pytest.fixture
def see(results: Results, options: Options, describe: PrepareData) -> Callable[..., Preview]:
    """Previews an ablation on recordings that are only described."""

    def call(loaded: Loaded, options: Options = options, **how: Any) -> Preview:
        how = {"calibrate": False, "describe": describe, **how}
        return make_preview(loaded, results, options, lambda text: None, **how)

    return call


def printed(seen: Preview) -> str:
    """What `plan` prints."""
    console = Console(record=True, width=200, file=io.StringIO())
    print_preview(console, seen)
    return console.export_text()


def record_all(
    plan: Plan, results: Results, make_result: Callable[..., RunResult], per: Callable[..., float]
) -> None:
    """Record every run of a plan, with a PER given by its arm and seed."""
    for run in plan.runs:
        result = make_result(run, n_runs=4)
        rows = tuple({**row, "per": per(run.arm_id, run.seed)} for row in result.history)
        record, history = make_record(
            run.run_id, run.config, run.seed,
            {"fingerprint": run.data.fingerprint, "path": run.data.path},
            {"pack_id": "p", "n_runs": 4}, replace(result, history=rows), {}, environment(),
        )  # fmt: skip
        write_run(results, record, history)


def test_the_pooled_spread_is_that_of_pairs() -> None:
    rng = np.random.default_rng(0)
    seed_effect = rng.normal(size=200)
    values = np.stack([seed_effect + i + rng.normal(0, 0.5, 200) for i in range(3)])
    assert pooled_spread(values) == pytest.approx(0.5 * math.sqrt(2), rel=0.1)
    two = np.array([[0.1, 0.2, 0.4, math.nan], [0.0, 0.3, 0.1, 0.9]])
    assert pooled_spread(two) == pytest.approx(float(np.std([0.1, -0.1, 0.3], ddof=1)))
    assert math.isnan(pooled_spread(two[:, :2])), "one degree of freedom is not enough"


def test_a_spread_comes_from_own_records_or_else_from_others_or_else_from_the_prior(
    load: Load,
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    loaded = load({"seeds": SEEDS, "prior": {"per": 0.03}})
    plan = plan_of(loaded)
    prior = find_spreads(plan, recent_records(results), results)["per"]
    assert prior.value == 0.03 and "prior" in prior.source

    other = plan_of(load({"seeds": SEEDS, "set": {"optim.epsilon": 0.5}, "hypotheses": {}}))
    record_all(
        other, results, make_result, lambda arm, seed: 0.3 + 0.04 * (seed % 2) * ("weak" in arm)
    )
    elsewhere = find_spreads(plan, recent_records(results), results)["per"]
    assert elsewhere.source.startswith("32 ")
    assert elsewhere.value == pytest.approx(
        math.sqrt(4 / 6) * float(np.std([0, 0.04] * 4, ddof=1))  # four pairs of six differ
    )

    record_all(
        plan, results, make_result, lambda arm, seed: 0.3 + 0.1 * (seed % 2) * ("weak" in arm)
    )
    own = find_spreads(plan, recent_records(results), results)["per"]
    assert own.source.startswith("32 ") and own.source != elsewhere.source
    assert own.value == pytest.approx(2.5 * elsewhere.value)


def test_without_records_or_priors_numbers_are_unknown(
    load: Load, see: Callable[..., Preview]
) -> None:
    document = preview_document(see(load({"seeds": SEEDS})))
    assert document["spreads"]["per"]["value"] is None
    assert "'prior'" in document["spreads"]["per"]["source"]
    assert {entry["power"] for entry in document["power"]} == {None}
    assert document["forecast"]["cost"] is None


def test_a_prior_gives_power_and_detectable_effect(load: Load, see: Callable[..., Preview]) -> None:
    small, large = (
        preview_document(see(load({"seeds": SEEDS, "prior": {"per": spread}})))["power"][0]
        for spread in (0.003, 0.03)
    )
    assert small["power"] > 0.95 > 0.3 > large["power"]
    assert 0.02 < small["detectable"] < 0.025  # the estimate must reach the margin as well
    assert large["detectable"] > 0.03


def test_more_seeds_cost_more_and_have_more_power(
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    loaded = load({"seeds": [0, 1, 2, 3]})
    noise = {"official+high": 0.01, "weak+high": -0.01}
    record_all(
        plan_of(loaded),
        results,
        make_result,
        lambda arm, seed: 0.3 + noise.get(arm, 0.0) * (seed % 2),
    )
    seen = see(load({"seeds": [0, 1, 2, 3], "prior": {"per": 0.02}}), n_seeds=[4, 8, 16])
    document = json.loads(json.dumps(preview_document(seen), allow_nan=False))
    four, eight, sixteen = document["choices"]
    assert [choice["n_runs"] for choice in document["choices"]] == [16, 32, 64]
    # All is recorded of the four seeds of the file, and nothing of the others.
    assert [choice["n_recorded"] for choice in document["choices"]] == [16, 16, 16]
    assert (four["cost"]["hours"], four["seconds"]) == (0, 0)
    # 3 s of 4 runs and 60 steps: 0.0125 s a run and step, one thread.
    assert eight["cost"]["hours"] == pytest.approx(16 * 0.75 / 3600)
    assert sixteen["cost"]["hours"] == pytest.approx(3 * eight["cost"]["hours"])
    assert eight["seconds"] == pytest.approx(16 * 0.75)  # this process trains one pack at a time
    assert four["power"][0]["power"] < eight["power"][0]["power"]
    assert eight["power"][0]["power"] <= sixteen["power"][0]["power"]


def test_fewer_seeds_need_the_missing_runs_of_the_first_seeds(
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    loaded = load({"seeds": [7, 3, 5]})
    record_all(plan_of(load({"seeds": [3]})), results, make_result, lambda *_: 0.3)
    choices = preview_document(see(loaded, n_seeds=[1, 2, 4]))["choices"]
    assert [(c["n_runs"], c["n_recorded"]) for c in choices] == [(4, 0), (8, 4), (16, 4)]
    assert [c["seconds"] for c in choices] == pytest.approx([3.0, 3.0, 9.0])


@pytest.mark.parametrize("backend", ["ray", "local"])
def test_only_ray_trains_several_packs_at_a_time(
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    options: Options,
    make_result: Callable[..., RunResult],
    backend: Any,
) -> None:
    record_all(plan_of(load({"seeds": [9]})), results, make_result, lambda *_: 0.3)
    seen = see(load({"seeds": [0, 1]}), options=replace(options, backend=backend))
    assert seen.forecast.seconds == pytest.approx({"ray": 3.0, "local": 6.0}[backend])


SHARE = {"hypotheses/weak_hurts/outcome": "collapsed", "hypotheses/weak_hurts/margin": 0.5}


def test_the_power_of_a_share_uses_the_records_of_the_reference_arm(
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    changes = {"seeds": SEEDS, "hypotheses/only_when_slow": ..., **SHARE}

    def seen(**more: Any) -> tuple[float | None, str, float]:
        document = preview_document(see(load({**changes, **more})))
        (power,) = document["power"]
        assert power["power"] is not None
        return document["rates"]["weak_hurts"]["value"], power["basis"], power["power"]

    rate, basis, best = seen()
    assert (rate, basis) == (None, "best case")
    rate, basis, with_prior = seen(prior={"collapsed": 0.3})
    assert (rate, basis) == (0.3, "rate")
    assert 0.1 < with_prior < best
    other = plan_of(load({**changes, "seeds": [100, 101]}))
    record_all(other, results, make_result, lambda *_: 0.3)
    rate, basis, recorded = seen(prior={"collapsed": 0.3})
    assert (rate, basis) == (0.0, "rate")
    assert recorded == best
    (line,) = [line for line in printed(see(load(changes))).splitlines() if "0 of 2" in line]
    assert "weak_hurts" in line and " 0 %" in line


def test_a_main_effect_on_a_share_is_forecast_from_its_rate_or_its_best_case(
    load: Load, see: Callable[..., Preview]
) -> None:
    paths = ("optim.epsilon", "optim.beta1", "optim.beta2", "optim.weight_decay")
    factors = {f"f{i}": {"a": {path: 0.1}, "b": {path: 0.2}} for i, path in enumerate(paths)}
    claim = {
        "claim": "x", "contrast": {"factor": "f0", "from": "a", "to": "b"},
        "outcome": "collapsed", "direction": "increase", "margin": 0.3,
    }  # fmt: skip
    spec = {"design": "fractional", "factors": factors, "hypotheses": {"h": claim}, "seeds": SEEDS}
    (best,) = see(load(spec)).power
    assert best.basis == "best case" and best.power > 0.8
    (known,) = see(load({**spec, "prior": {"collapsed": 0.1}})).power
    assert known.basis == "rate" and known.power < best.power
    assert best.detectable < known.detectable < 0.5


def test_the_power_with_looks_is_that_of_the_last_ones_alpha(
    load: Load, see: Callable[..., Preview]
) -> None:
    looks = [{"seeds": 6, "alpha": 0.01}, {"seeds": 8, "alpha": 0.04}]
    changes = {"seeds": SEEDS, "hypotheses/only_when_slow": ..., "prior": {"per": 0.02}}
    whole = see(load(changes), n_seeds=[10]).choices[0].power[0]
    spent = see(load({**changes, "looks": looks}), n_seeds=[10])
    alone = see(load({**changes, "alpha": 0.04}), n_seeds=[10]).choices[0].power[0]
    assert spent.choices[0].power[0] == alone
    assert alone.power < whole.power
    assert preview_document(spent)["power_alpha"] == 0.04
    assert "α = 0.04" in printed(spent)


def test_the_cost_of_a_greedy_path_is_bounded_before_it_is_planned(
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    paths = ("optim.epsilon", "optim.beta1", "optim.beta2", "optim.weight_decay")
    factors = {f"f{i}": {"a": {path: 0.1}, "b": {path: 0.2}} for i, path in enumerate(paths)}
    loaded = load(
        {"design": "path", "factors": factors, "hypotheses": {}, "greedy": {}, "seeds": [0, 1]}
    )
    first = see(loaded)
    assert first.greedy is not None and (first.greedy.n_arms, first.greedy.n_runs) == (8, 16)
    assert first.greedy.cost is None
    record_all(plan_of(loaded), results, make_result, lambda arm, seed: 0.3 + 0.1 * (arm == "+f0"))
    seen = see(loaded)  # now the plan has the three arms of the first round
    assert len(seen.plan.distinct) == (5 + 3) * 2 and seen.greedy is not None
    assert (seen.greedy.n_arms, seen.greedy.n_runs) == (5, 10)
    # 0.75 s per run: three and two arms in the remaining rounds, one pack after the other.
    assert seen.greedy.seconds == pytest.approx(0.75 * 10)
    document = json.loads(json.dumps(preview_document(seen)))
    assert document["greedy"]["n_runs_at_most"] == 10
    assert [arm["arm_id"] for arm in document["arms"]][5:] == ["base+f1", "base+f2", "base+f3"]
    (line,) = [line for line in printed(seen).splitlines() if "greedy path" in line]
    assert all(fact in line for fact in ("5 arms", "10 runs", "8 s"))


def test_untestable_claims_power_and_spreads_are_printed(
    load: Load, see: Callable[..., Preview]
) -> None:
    exact = {"hypotheses/weak_hurts/test": "exact"}
    text = printed(see(load({"prior": {"per": 0.01}, **exact}), n_seeds=[4, 10]))
    assert "untestable: weak_hurts" in text
    assert "weak_hurts: Supported if" in text
    assert "10 seeds" in text and "1.0 PER points" in text


@pytest.mark.parametrize(("per", "warned"), [(0.3, False), (0.95, True)])
def test_claims_about_the_per_of_arms_that_learn_nothing_are_cautioned(
    per: float,
    warned: bool,
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    loaded = load()
    assert see(loaded).stuck == {}
    record_all(
        plan_of(loaded), results, make_result, lambda arm, _: per if arm == "weak+high" else 0.3
    )
    seen = see(load({"seeds": [100, 101]}))  # by other seeds of the same configurations
    assert ("weak_hurts" in seen.stuck) == warned
    if warned:
        assert "3 of 3 of weak+high" in seen.stuck["weak_hurts"]
        assert "caution: weak_hurts: " in printed(seen)


def test_a_finished_ablation_has_nothing_to_train(
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    loaded = load()
    record_all(plan_of(loaded), results, make_result, lambda *_: 0.3)
    seen = see(loaded)
    assert (seen.packs, seen.forecast.seconds) == ((), 0.0)
    assert "nothing to train" in printed(seen).splitlines()[-1]


def test_the_preview_counts_what_other_source_code_trained_and_would_be_trained_again(
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    plan = plan_of(load())
    record_all(plan, results, make_result, lambda *_: 0.3)
    others = sorted(plan.distinct)[:5]
    for run_id in others:
        environment = records_of(results)[run_id]["environment"]
        code = {"decoder_sha256": "0" * 64, "git_commit": None}
        change_record(results, run_id, environment={**environment, "code": code})
    seen = see(load())
    assert sorted(seen.again) == others and len(seen.records) == 7
    assert sorted(run.run_id for pack in seen.packs for run in pack.runs) == others
    document = preview_document(seen)
    assert (document["n_recorded"], document["n_trained_again"]) == (7, 5)
    (line,) = [line for line in printed(seen).splitlines() if line.startswith("5 of 12 ")]
    assert "--allow-mixed" in printed(seen) and document["other_sources"] in line
    mixed = see(load(), allow_mixed=True)
    assert (mixed.again, mixed.packs, len(mixed.records)) == ({}, (), 12)
    assert printed(mixed).count("5 of 12 ") == 1


def test_the_preview_says_that_versions_of_pytorch_differ_and_strict_refuses(
    load: Load,
    see: Callable[..., Preview],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    plan = plan_of(load())
    record_all(plan, results, make_result, lambda *_: 0.3)
    run_id = min(plan.distinct)
    environment = records_of(results)[run_id]["environment"]
    change_record(results, run_id, environment={**environment, "torch": "2.1.0"})
    assert "2.1 (1 run)" in printed(see(load()))
    with pytest.raises(ConfigError, match="--strict"):
        see(load(), strict=True)


def test_a_fraction_prints_generators_and_aliases(load: Load, see: Callable[..., Preview]) -> None:
    paths = ("optim.epsilon", "optim.beta1", "optim.beta2", "model.rnn_dropout",
             "model.input_dropout", "augment.white_noise_std")  # fmt: skip
    factors = {f"f{i}": {"a": {path: 0.1}, "b": {path: 0.2}} for i, path in enumerate(paths)}
    claim = {
        "claim": "x", "contrast": {"factor": "f0", "from": "a", "to": "b"},
        "outcome": "per", "direction": "no_difference", "margin": 0.01,
    }  # fmt: skip
    seen = see(load({"design": "fractional", "factors": factors, "hypotheses": {"h": claim}}))
    document = preview_document(seen)
    assert document["aliases"]["generators"] == ["E=ABC", "F=ABD"]
    assert document["contrasts"][0]["from_arm"] == "f0=a (8 arms)"
    assert document["contrasts"][0]["changed"] == {"optim.epsilon": [0.1, 0.2]}
    text = printed(seen)
    for fact in ("16 arms", "resolution IV", "E=ABC, F=ABD", "A = f0, B = f1"):
        assert fact in text
    assert "I = ABCE = ABDF = CDEF" in text
    assert "f0 × f1" in text and "f2 × f4, f3 × f5" in text


@pytest.mark.parametrize("seeds", ["4,six", "0", "4,,6", "-1"])
def test_an_invalid_number_of_seeds_is_refused(
    write_spec: Callable[..., Any], results: Results, seeds: str
) -> None:
    arguments = ["plan", str(write_spec()), "--results", str(results.root), f"--seeds={seeds}"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"--seeds {seeds}: " in result.stderr


@pytest.mark.parametrize(("n_levels", "n_seeds"), [((10, 10, 10), 10), ((25, 20, 20), 1)])
def test_ten_thousand_runs_can_be_previewed(
    load: Load, see: Callable[..., Preview], n_levels: tuple[int, ...], n_seeds: int
) -> None:
    paths = ("optim.epsilon", "optim.beta1", "optim.weight_decay")
    factors = {
        f"f{i}": {f"l{j}": {path: (j + 1) / 100} for j in range(size)}
        for i, (path, size) in enumerate(zip(paths, n_levels, strict=True))
    }
    claims = {
        f"h{j}": {
            "claim": "x", "contrast": {"factor": "f0", "from": "l0", "to": f"l{j}"},
            "where": {"f1": "l0", "f2": "l0"}, "outcome": "per", "direction": "increase",
            "margin": 0.01,
        }
        for j in range(1, 6)
    }  # fmt: skip
    loaded = load({"factors": factors, "hypotheses": claims, "seeds": list(range(n_seeds)),
                   "prior": {"per": 0.02}})  # fmt: skip
    document = preview_document(see(loaded, n_seeds=[4, 6, 10]))
    assert document["n_runs"] == 10_000
    assert len(json.loads(json.dumps(document))["arms"]) == 10_000 // n_seeds


def test_the_plan_says_how_many_runs_a_pack_may_hold_and_why(
    load: Load, data_info: Recordings, see: Callable[..., Preview], monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(arms: Sequence[Arm], *args: Any) -> dict[str, Recordings]:
        known = replace(data_info, longest_bins=300, longest_target=20)
        return {arm.arm_id: known for arm in arms}

    def with_room(n_bytes: int) -> tuple[dict[str, Any], str]:
        free = FreeMemory(n_bytes, "on this machine")
        monkeypatch.setattr(room, "free_memory", lambda options: free)
        seen = see(load(), describe=described)
        [line] = [text for text in printed(seen).splitlines() if "a pack holds" in text]
        return preview_document(seen)["memory"], line

    memory, line = with_room(3 * 2**30)
    [shape] = memory["shapes"]
    assert (memory["free_bytes"], memory["source"]) == (3 * 2**30, "on this machine")
    assert shape["max_runs_per_pack"] == 16 < shape["n_fitting"] and not shape["measured"]
    assert "16 runs" in line and "3 GiB" in line
    little = shape["bytes_shared"] + 2 * shape["bytes_per_run"]
    memory, line = with_room(little)
    assert memory["shapes"][0]["max_runs_per_pack"] == memory["shapes"][0]["n_fitting"] == 2
    assert "2 runs" in line and "even one" not in line
    memory, line = with_room(0)
    assert memory["shapes"][0]["max_runs_per_pack"] == 1
    assert "1 run:" in line and "even one" in line


@pytest.mark.parametrize(
    ("n_packs", "n_sharing", "share"), [(4, 2, "0.25"), (3, 1, "0.33"), (2, 2, None), (1, 2, None)]
)
def test_the_plan_says_how_many_packs_a_gpu_holds(
    load: Load,
    data_info: Recordings,
    see: Callable[..., Preview],
    monkeypatch: pytest.MonkeyPatch,
    n_packs: int,
    n_sharing: int,
    share: str | None,
) -> None:
    def described(arms: Sequence[Arm], *args: Any) -> dict[str, Recordings]:
        known = replace(data_info, longest_bins=300, longest_target=20)
        return {arm.arm_id: known for arm in arms}

    def see_with(n_bytes: int) -> Preview:
        free = FreeMemory(n_bytes, "on the GPU", n_sharing)
        monkeypatch.setattr(room, "free_memory", lambda options: free)
        return see(load(), describe=described)

    [shape] = preview_document(see_with(2**40))["memory"]["shapes"]
    pack_bytes = shape["bytes_shared"] + shape["max_runs_per_pack"] * shape["bytes_per_run"]
    seen = see_with(n_packs * pack_bytes // n_sharing + 1)
    if n_packs >= n_sharing:
        [line] = [text for text in printed(seen).splitlines() if "a pack holds" in text]
        assert f"holds {n_packs} of them" in line
        assert line.endswith(f"(--gpus-per-pack {share})" if share else "of them")
    assert preview_document(seen)["memory"]["packs_per_gpu"] == n_sharing


def test_unknown_memory_is_not_spoken_of(load: Load, see: Callable[..., Preview]) -> None:
    seen = see(load())  # the length of the trials is not known
    assert preview_document(seen)["memory"] is None
    assert "a pack holds" not in printed(seen)


def test_the_memory_that_a_calibration_measures_is_shown_and_cuts_the_packs(
    load: Load, results: Results, see: Callable[..., Preview], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = FreeMemory(2**30, "on this machine")
    monkeypatch.setattr(room, "free_memory", lambda options: free)
    large = lambda device: PROCESS_BYTES + 2 * free.n_bytes  # noqa: E731
    monkeypatch.setattr("decoder.state.peak_memory_bytes", large)
    loaded = load({"seeds": [0], "hypotheses": {}})
    assert len(see(loaded, describe=prepare_data).packs) == 2  # two workers
    seen = see(loaded, describe=prepare_data, calibrate=True)
    [shape] = preview_document(seen)["memory"]["shapes"]
    assert shape["measured"] and shape["max_runs_per_pack"] == 1
    assert [len(pack.runs) for pack in seen.packs] == [1] * 4
    # `run` and the next `plan` know it too, without a calibration.
    assert len(see(loaded, describe=prepare_data).packs) == 4
    assert results.memory.exists() and not results.runs.exists()
