"""`orchestrator.driver.cost`: forecasts of time and cost, and where they come from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decoder.pack import Pack, Progress, Run, RunResult
from orchestrator.driver import cost
from orchestrator.driver.cost import TimeForecast, forecast, jobs_of, measure_pace
from orchestrator.driver.room import Peak
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.plan.recordings import prepare_data
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import make_record, recent_records, write_run
from orchestrator.store.paths import Results

HOW: dict[str, Any] = {"threads": 1, "device": "cpu"}


def forecast_of(plan: Plan, packs: Sequence[Pack], results: Results, **how: Any) -> TimeForecast:
    """The forecast for packs of which two train at the same time."""
    return forecast(
        jobs_of(plan, packs), measure_pace(plan, packs, recent_records(results), **how), 2
    )


def test_nothing_to_train_takes_no_time(
    load: Callable[..., Loaded], plan_of: Callable[..., Plan], results: Results
) -> None:
    found = forecast_of(plan_of(load()), [], results, **HOW, may_calibrate=True)
    assert found.seconds == 0.0
    assert found.cost is not None and found.cost.hours == 0.0


def test_without_records_and_calibration_the_forecast_is_unknown(
    load: Callable[..., Loaded], plan_of: Callable[..., Plan], results: Results
) -> None:
    plan = plan_of(load())
    found = forecast_of(plan, packs_to_train(plan.packs, ()), results, **HOW, may_calibrate=False)
    assert found.seconds is None


def _record(results: Results, plan: Plan, pack: Pack, ended: RunResult, n_runs: int) -> None:
    run = plan.distinct[ended.run_id]
    record, history = make_record(
        run.run_id, run.config, run.seed,
        {"fingerprint": run.data.fingerprint, "path": run.data.path},
        {"pack_id": pack.pack_id, "n_runs": n_runs},
        replace(ended, n_runs_in_pack=n_runs), {}, {},
    )  # fmt: skip
    write_run(results, record, history)


def test_the_forecast_uses_earlier_records_of_the_same_shape_and_size(
    load: Callable[..., Loaded],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    plan = plan_of(load({"seeds": [0, 1]}))
    packs = packs_to_train(plan.packs, ())
    one, other = packs[0].runs[:2]
    # 12 s of 4 runs and 60 steps: 0.05 s per run and step.
    _record(results, plan, packs[0], replace(make_result(one), pack_seconds=12.0), 4)
    # The only record of another pack size, which does not count.
    _record(results, plan, packs[0], replace(make_result(other), pack_seconds=600.0), 1)
    left = packs_to_train(plan.packs, {one.run_id, other.run_id})
    found = forecast_of(plan, left, results, **HOW, may_calibrate=False)
    assert "(1)" in found.source, "one record"
    assert found.pack_seconds[packs[0].pack_id] == pytest.approx(0.05 * 2 * 60)
    assert found.pack_seconds[packs[1].pack_id] == pytest.approx(0.05 * 4 * 60)
    assert found.seconds == pytest.approx(12.0)  # two workers
    assert found.cost is not None
    assert found.cost.hours == pytest.approx((0.05 * 2 * 60 + 0.05 * 4 * 60) / 3600)
    assert (found.cost.low, found.cost.high) == (found.cost.hours,) * 2  # one record, no scatter


def test_the_cost_counts_all_devices_held_and_has_the_scatter_of_the_records(
    load: Callable[..., Loaded],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    plan = plan_of(load({"seeds": [0, 1, 2]}))
    packs = packs_to_train(plan.packs, ())
    runs = [(pack, run) for pack in packs for run in pack.runs][:11]
    for index, (pack, run) in enumerate(runs):  # 0.05, 0.06, ... 0.15 s per run and step
        seconds = (0.05 + index / 100) * 4 * 60
        _record(results, plan, pack, replace(make_result(run), pack_seconds=seconds), 4)
    left = packs_to_train(plan.packs, {run.run_id for _, run in runs})
    how = {**HOW, "threads": 3}
    cost = forecast_of(plan, left, results, **how, may_calibrate=False).cost
    assert cost is not None and cost.unit == "core"
    expected = [3 * rate * 60 / 3600 for rate in (0.10, 0.06, 0.14)]  # one run, three threads
    assert [cost.hours, cost.low, cost.high] == pytest.approx(expected)
    on_gpu = forecast_of(plan, left, results, **{**how, "device": "cuda"}, may_calibrate=False).cost
    assert on_gpu is not None and on_gpu.unit == "GPU"
    assert on_gpu.hours == pytest.approx(cost.hours / 3)


def test_records_of_another_shape_are_not_used(
    load: Callable[..., Loaded],
    plan_of: Callable[..., Plan],
    results: Results,
    make_result: Callable[..., RunResult],
) -> None:
    wide = plan_of(load({"set": {"model.n_units": 16}}))
    pack = packs_to_train(wide.packs, ())[0]
    _record(results, wide, pack, make_result(pack.runs[0]), 4)
    plan = plan_of(load())
    found = forecast_of(plan, packs_to_train(plan.packs, ()), results, **HOW, may_calibrate=False)
    assert found.seconds is None


def test_a_calibration_trains_a_few_steps_and_records_nothing(
    load: Callable[..., Loaded], results: Results, tmp_path: Path
) -> None:
    loaded = load({"seeds": [0]})
    data = prepare_data(loaded.arms, results.datasets, lambda text: None)
    plan = make_plan(loaded, data, 1)
    packs = packs_to_train(plan.packs, ())
    found = forecast_of(plan, packs, results, **HOW, may_calibrate=True)
    assert "24 steps" in found.source
    assert found.seconds is not None and 0 < found.seconds < 120
    cost = found.cost
    assert cost is not None and 0 < cost.low <= cost.hours <= cost.high
    assert not results.runs.exists()


class FakeGpu:
    """Training whose steps take seconds of a made-up clock, which only a synchronisation reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int = 16) -> None:
        self.n_synchronised, self.room, self.sizes = 0, room, list[int]()
        self.issued = self.done = 0.0
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "synchronize", self.synchronize)
        monkeypatch.setattr(cost.time, "perf_counter", lambda: self.done)
        monkeypatch.setattr("decoder.train.train", self.train)

    def synchronize(self, device: torch.device) -> None:
        assert device.type == "cuda"
        self.n_synchronised += 1
        self.done = self.issued

    def train(self, pack: Pack, dataset: Any, *, device: str) -> Iterator[Progress]:
        """0.5 s a step, 5 s for each of the first three; 1 s an evaluation."""
        self.sizes.append(len(pack.runs))
        if len(pack.runs) > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        config = pack.runs[0].config.train
        for step in range(1, config.n_steps + 1):
            self.issued += 5.0 if step <= 3 else 0.5
            if step % config.eval_every_steps == 0:
                self.issued += 1.0
                ended = [result_of(run) for run in pack.runs] if step == config.n_steps else []
                yield Progress(step, {}, ended)


def result_of(run: Run) -> RunResult:
    return RunResult(run.run_id, "ok", (), 1, 1, 0, 1.0, 4, 7 << 30)


@pytest.fixture
def on_gpu(load: Callable[..., Loaded], results: Results) -> tuple[Plan, list[Pack]]:
    loaded = load({"seeds": [0]})
    data = prepare_data(loaded.arms, results.datasets, lambda text: None)
    plan = make_plan(loaded, data, 1)
    return plan, packs_to_train(plan.packs, ())


def test_on_a_gpu_the_clock_is_read_when_it_is_done_and_the_slow_first_steps_do_not_count(
    on_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, packs = on_gpu
    gpu = FakeGpu(monkeypatch)
    pace = measure_pace(plan, packs, [], threads=1, device="cuda", may_calibrate=True)
    [(key, rate)] = pace.rates.items()
    # 0.5 s a step and 1 s an evaluation every 20 steps, shared by four runs.
    expected = (0.5 + 1.0 / 20) / 4
    assert rate == pytest.approx((expected, expected, expected))
    assert pace.peaks == {key: Peak(4, 7 << 30)}
    n_evaluations = 2 * 7
    assert gpu.n_synchronised == n_evaluations
    cost = forecast(jobs_of(plan, packs), pace, 1).cost
    assert cost is not None and cost.unit == "GPU"
    assert cost.hours == pytest.approx(expected * 4 * 60 / 3600)
    assert "42 steps" in pace.source


def test_a_pack_that_does_not_fit_is_calibrated_by_half_of_its_runs(
    on_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, packs = on_gpu
    gpu = FakeGpu(monkeypatch, room=1)
    pace = measure_pace(plan, packs, [], threads=1, device="cuda", may_calibrate=True)
    assert gpu.sizes == [4, 2, 1, 1]
    assert [peak.n_runs for peak in pace.peaks.values()] == [1]
    assert [rate.usual for rate in pace.rates.values()] == [pytest.approx(0.5 + 1.0 / 20)]


def test_without_memory_for_one_run_the_pace_is_unknown(
    on_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, packs = on_gpu
    FakeGpu(monkeypatch, room=0)
    pace = measure_pace(plan, packs, [], threads=1, device="cuda", may_calibrate=True)
    assert not pace.rates and not pace.peaks
