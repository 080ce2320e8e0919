"""`orchestrator.execute.open_packs`: what of a pack is trained while others train the rest."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from decoder.config import digest
from orchestrator.execute.open_packs import OpenPacks
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan
from orchestrator.spec.load import Loaded
from orchestrator.store.paths import Results
from orchestrator.store.reservation_files import STALE_SECONDS, Driver
from orchestrator.store.reservations import reserving
from orchestrator.store.sources import training_sha256
from orchestrator.store.under_way import (
    drop_other_sources,
    keep_cut,
    packs_under_way,
    recorded_cut,
)

ELSEWHERE = Driver("t" * 16, "node7", 4711, "another machine", "17", "2026", "ablations", "night")


@pytest.fixture
def plan(load: Callable[..., Loaded], plan_of: Callable[..., Plan]) -> Plan:
    """One pack of four runs."""
    return plan_of(load({"seeds": [0]}), n_workers=1)


@contextmanager
def opened(results: Results, plan: Plan, said: list[str] | None = None) -> Iterator[OpenPacks]:
    say = [].append if said is None else said.append
    packs = packs_to_train(plan.packs, ())
    drop_other_sources(results, "mine", print)
    with reserving(results, "mine") as held:
        yield OpenPacks(held, results, "mine", plan, packs, print, print, say)


def leave(results: Results, run_ids: list[str], driver: Driver = ELSEWHERE) -> None:
    """Reservations of a driver that died on another machine."""
    results.reservations.mkdir(parents=True, exist_ok=True)
    own = results.reservations / f"driver-{driver.token}"
    own.write_bytes(driver.to_json())
    for run_id in run_ids:
        os.link(own, results.reservations / f"{run_id}.0")
    os.utime(own, (own.stat().st_mtime - STALE_SECONDS - 5,) * 2)


def checkpoint(results: Results, name: str, pack: Any, sources: str | None = None) -> None:
    """A pack of another ablation with a checkpoint."""
    drop_other_sources(results, name, print)
    keep_cut(results, name, [pack])
    folder = results.checkpoints(name)
    if sources:
        (folder / "sources").write_text(sources)
    (folder / pack.pack_id).mkdir()
    (folder / pack.pack_id / "step-000000020.json").write_text(name)


def test_a_pack_of_which_nothing_is_trained_elsewhere_is_trained_as_planned(
    results: Results, plan: Plan
) -> None:
    with opened(results, plan) as left:
        batch = left.take([plan.packs[0].pack_id])
        assert batch is not None and left.run_ids == frozenset()
        assert list(batch.to_train) == packs_to_train(plan.packs, ())
        assert list(batch.packs) == list(plan.packs)


def test_the_rest_of_a_pack_has_an_id_of_its_own_which_a_later_call_keeps(
    results: Results, plan: Plan
) -> None:
    (pack,) = plan.packs
    ids = [run.run_id for run in pack.runs]
    with reserving(results, "other") as other, opened(results, plan) as left:
        other.reserve(ids[:1])
        batch = left.take([pack.pack_id])
        assert batch is not None
        (part,) = batch.to_train
        assert [run.run_id for run in part.runs] == ids[1:]
        assert part.pack_id != pack.pack_id and batch.of_plan == {part.pack_id: pack.pack_id}
        assert recorded_cut(results, "mine")[part.pack_id] == tuple(ids[1:])
        assert left.run_ids == set(ids[:1])
        assert left.take([pack.pack_id]) is None
        other.release()
        assert left.wait(leave=False)
        last = left.take([pack.pack_id])
        assert last is not None and [run.run_id for run in last.to_train[0].runs] == ids[:1]
        assert last.to_train[0].pack_id not in (pack.pack_id, part.pack_id)


def test_a_resumed_pack_keeps_its_id_although_another_driver_trains_one_of_its_runs(
    results: Results, plan: Plan
) -> None:
    (pack,) = plan.packs
    checkpoint(results, "mine", pack)
    with reserving(results, "other") as other, opened(results, plan) as left:
        other.reserve([pack.runs[0].run_id])
        batch = left.take([pack.pack_id])
        assert batch is not None
        assert [part.pack_id for part in batch.to_train] == [pack.pack_id]
        assert len(batch.to_train[0].runs) == 3


@pytest.mark.parametrize("kind", ["ablations", "searches"])
def test_runs_of_a_dead_driver_go_on_from_its_checkpoint(
    results: Results, plan: Plan, kind: Any
) -> None:
    (pack,) = plan.packs
    ids = [run.run_id for run in pack.runs]
    of_other = replace(results, kind=kind)
    checkpoint(of_other, "night", replace(pack, pack_id="nightly", runs=pack.runs[1:3]))
    leave(results, ids[:3], replace(ELSEWHERE, kind=kind))
    half = results.checkpoints("mine") / f".{digest(sorted(ids[1:3]))[:16]}"  # by a killed driver
    half.mkdir(parents=True)
    (results.checkpoints("mine") / "sources").write_text(training_sha256())
    said: list[str] = []
    with opened(results, plan, said) as left:
        batch = left.take([pack.pack_id])
        assert batch is not None
        first, second = batch.to_train
        assert [run.run_id for run in first.runs] == ids[1:3]
        assert [run.run_id for run in second.runs] == [ids[0], ids[3]]
    assert packs_under_way(results, "mine") == {first.pack_id: tuple(ids[1:3])}
    folder = results.checkpoints("mine") / first.pack_id
    assert (folder / "step-000000020.json").read_text() == "night"
    assert "nightly" in packs_under_way(of_other, "night"), "the other can still resume"
    assert any(text.startswith("2 runs go on from") for text in said)


@pytest.mark.parametrize("fault", ["other sources", "bad name", "no checkpoint"])
def test_without_a_checkpoint_that_can_be_used_they_start_anew(
    results: Results, plan: Plan, fault: str
) -> None:
    (pack,) = plan.packs
    if fault != "no checkpoint":
        checkpoint(results, "night", pack, "e" * 64 if fault == "other sources" else None)
    name = "../night" if fault == "bad name" else "night"
    leave(results, [run.run_id for run in pack.runs], replace(ELSEWHERE, name=name))
    with opened(results, plan) as left:
        batch = left.take([pack.pack_id])
        assert batch is not None and list(batch.to_train) == packs_to_train(plan.packs, ())
    assert packs_under_way(results, "mine") == {}
