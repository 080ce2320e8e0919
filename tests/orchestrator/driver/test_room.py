"""How many runs a pack may hold: by estimate, by measurement, and for packs under way."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decoder.memory import PROCESS_BYTES
from decoder.pack import RunResult
from orchestrator.driver import room
from orchestrator.driver.room import PackRoom, Peak, find_room, keep_calibrations
from orchestrator.execute.machine import Options
from orchestrator.execute.memory_limits import FreeMemory
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.plan.recordings import Recordings
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import make_record, recent_records, write_run
from orchestrator.store.paths import Results
from orchestrator.store.provenance import of_run

MIB = 2**20


@pytest.fixture
def sized(data_info: Recordings) -> Recordings:
    """Recordings whose longest trial is known."""
    return replace(data_info, longest_bins=300, longest_target=20)


@pytest.fixture
def plan_in(load: Callable[..., Loaded], sized: Recordings) -> Callable[..., Plan]:
    """Plans four arms and three seeds for one worker, in the room given."""

    def plan(room: PackRoom, **changes: Any) -> Plan:
        loaded = load(changes or None)
        return make_plan(loaded, {arm.arm_id: sized for arm in loaded.arms}, 1, 16, room)

    return plan


def sizes(plan: Plan) -> list[int]:
    return [len(pack.runs) for pack in plan.packs]


def a_room(n_bytes: float | None, **fields: Any) -> PackRoom:
    free = None if n_bytes is None else FreeMemory(int(n_bytes), "on this machine")
    return PackRoom(free, "cpu", 16, **fields)


def memory_of(plan: Plan) -> Any:
    [shape] = a_room(2**40).of_packs(plan.packs).values()
    return shape


def test_packs_are_cut_by_what_fits(plan_in: Callable[..., Plan]) -> None:
    whole = plan_in(a_room(2**40))
    assert sizes(whole) == [4, 4, 4]
    estimate = memory_of(whole).estimate
    assert sizes(plan_in(a_room(estimate.of(4)))) == [4, 4, 4]
    assert sizes(plan_in(a_room(estimate.of(4) - 1))) == [2, 2] * 3
    assert sizes(plan_in(a_room(estimate.of(2) - 1))) == [1] * 12
    assert sizes(plan_in(a_room(0))) == [1] * 12


def test_where_memory_or_recordings_are_unknown_only_the_options_bound_packs(
    plan_in: Callable[..., Plan], load: Callable[..., Loaded], data_info: Recordings
) -> None:
    assert sizes(plan_in(a_room(None))) == [4, 4, 4]
    loaded = load()
    data = {arm.arm_id: data_info for arm in loaded.arms}
    plan = make_plan(loaded, data, 1, 16, a_room(0))
    assert sizes(plan) == [4, 4, 4]
    assert sizes(make_plan(loaded, data, 1, 3, a_room(0))) == [2, 2] * 3


def test_enough_memory_leaves_packs_and_their_ids_as_they_were(
    plan_in: Callable[..., Plan], load: Callable[..., Loaded], sized: Recordings
) -> None:
    loaded = load()
    before = make_plan(loaded, {arm.arm_id: sized for arm in loaded.arms}, 1)
    assert plan_in(a_room(2**34)).packs == before.packs


def test_packs_under_way_stay_with_less_memory_and_other_options(
    plan_in: Callable[..., Plan], load: Callable[..., Loaded], sized: Recordings
) -> None:
    before = plan_in(a_room(2**40))
    first = before.packs[0]
    under_way = {first.pack_id: [run.run_id for run in first.runs]}
    after = plan_in(a_room(0, under_way=under_way))
    assert after.packs[0] == first
    assert sizes(after) == [4, *[1] * 8]
    assert after.distinct.keys() == before.distinct.keys()
    loaded = load()
    busy = make_plan(
        loaded,
        {arm.arm_id: sized for arm in loaded.arms},
        8,
        16,
        a_room(2**40, under_way=under_way),
    )
    assert busy.packs[0] == first and busy.distinct.keys() == before.distinct.keys()


def test_a_pack_under_way_keeps_its_id_when_arms_leave_and_join(
    plan_in: Callable[..., Plan],
) -> None:
    before = plan_in(a_room(2**40))
    first = before.packs[0]
    known = [run.run_id for run in first.runs]
    under_way = {first.pack_id: [*known[:3], "gone"], "other": ["unknown"]}
    after = plan_in(a_room(2**40, under_way=under_way))
    assert after.packs[0].pack_id == first.pack_id and sizes(after) == [3, 4, 4, 1]
    assert after.distinct.keys() == before.distinct.keys()


def test_a_measurement_replaces_the_estimate(plan_in: Callable[..., Plan]) -> None:
    plan = plan_in(a_room(2**40))
    [(key, shape)] = a_room(2**40).of_packs(plan.packs).items()
    taken = PROCESS_BYTES + 2 * shape.estimate.of(3)
    measured = a_room(2**40, peaks={key: [Peak(3, taken), Peak(3, taken // 2)]})
    found = measured.of_packs(plan.packs)[key]
    assert found.is_measured and not shape.is_measured
    assert found.estimate.of(3) == pytest.approx(2 * shape.estimate.of(3), rel=1e-3)
    again = measured.with_peaks({key: Peak(3, PROCESS_BYTES + shape.estimate.of(3))})
    assert again.of_packs(plan.packs)[key].estimate.per_run == pytest.approx(
        shape.estimate.per_run, rel=1e-3
    )


def test_a_measurement_of_the_libraries_alone_does_not_make_runs_free(
    plan_in: Callable[..., Plan],
) -> None:
    plan = plan_in(a_room(2**40))
    [(key, shape)] = a_room(2**40).of_packs(plan.packs).items()
    found = a_room(2**40, peaks={key: [Peak(3, MIB)]}).of_packs(plan.packs)[key]
    assert found.estimate.per_run == pytest.approx(shape.estimate.per_run / 4, rel=1e-3)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda options: FreeMemory(2**40, "on this machine"))


def test_records_of_the_same_kind_of_device_are_measurements(
    free: None,
    plan_in: Callable[..., Plan],
    results: Results,
    options: Options,
    make_result: Callable[..., RunResult],
) -> None:
    plan = plan_in(a_room(2**40))
    pack = plan.packs[0]
    results_of = [
        replace(make_result(run), device=device, peak_memory_bytes=n * MIB, n_runs_in_pack=4)
        for run, device, n in zip(
            pack.runs, ("cpu", "cpu", "NVIDIA H100", "cpu"), (300, 400, 9000, 500), strict=True
        )
    ]
    for index, (run, ended) in enumerate(zip(pack.runs, results_of, strict=True)):
        record, history = make_record(
            run.run_id, run.config, run.seed,
            {"fingerprint": run.data.fingerprint, "path": run.data.path},
            {"pack_id": pack.pack_id, "n_runs": 4}, ended, {}, of_run(run.config, ended),
        )  # fmt: skip
        if index == 3:  # an older record, whose peak is that of its process
            del record["environment"]["precision"]
        write_run(results, record, history)
    found = find_room(results, "question", options)
    [peaks] = found.peaks.values()
    assert sorted(peaks) == [Peak(4, 300 * MIB), Peak(4, 400 * MIB)]
    assert found.of_packs(plan.packs).popitem()[1].is_measured
    assert find_room(results, "question", options, recent_records(results)) == found


def test_calibrations_are_kept_for_their_device(
    free: None, results: Results, options: Options
) -> None:
    results.root.mkdir(parents=True)
    keep_calibrations(results, "cpu", {})
    assert not results.memory.exists()
    keep_calibrations(results, "cpu", {("f", "s"): Peak(2, 7)})
    keep_calibrations(results, "cpu", {("f", "t"): Peak(3, 8)})
    assert find_room(results, "x", options).peaks == {
        ("f", "s"): [Peak(2, 7)],
        ("f", "t"): [Peak(3, 8)],
    }
    assert find_room(results, "x", replace(options, device="mps")).peaks == {}
    results.memory.write_text('[{"device": "cpu"}]')
    assert find_room(results, "x", options).peaks == {}


def test_the_packs_under_way_are_found_by_the_name(
    free: None, results: Results, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "packs_under_way", lambda results, name: {name: ("run",)})
    assert find_room(results, "x", options).under_way == {"x": ("run",)}


def test_a_run_whose_trials_are_longer_takes_more(
    load: Callable[..., Loaded], sized: Recordings, tmp_path: Path
) -> None:
    loaded = load()
    longer = replace(sized, longest_bins=3000)
    plans = [
        make_plan(loaded, {arm.arm_id: data for arm in loaded.arms}, 1) for data in (sized, longer)
    ]
    short, long = (memory_of(plan).estimate for plan in plans)
    assert long.per_run > 5 * short.per_run
