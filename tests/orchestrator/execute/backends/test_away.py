"""A pack trains on nodes that do not see the driver's folders, and gives the same numbers."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from decoder.config import DecoderConfig, override, resolve
from decoder.data.prepare import prepare
from decoder.data.store import open_dataset
from decoder.model.decoder import PackedDecoder
from decoder.official_weights import save_official
from decoder.pack import Pack, Progress, Run, RunResult
from decoder.start import with_start_hash
from orchestrator.execute.backends import Execution, away
from orchestrator.execute.backends.away import Access, stamps_of, train_away
from orchestrator.execute.backends.travel import FolderSource, KeptFiles, Kind, Parcel, Receiver
from orchestrator.execute.backends.worker import train_pack

SETTINGS: dict[str, Any] = {
    "data.path": "synthetic:tiny",
    "data.batch_size": 6,
    "data.days_per_batch": 2,
    "model.n_units": 8,
    "model.n_layers": 1,
    "train.n_steps": 12,
    "train.eval_every_steps": 2,
    "train.keep_weights": "best",
    "train.keep_logits": "both",
}


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execution:
    """The driver's folders, with recordings and a checkpoint after every step."""
    monkeypatch.setenv("SPEECH_BCI_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(away, "SEND_PAUSE", 0.0)
    dataset = prepare("synthetic:tiny", None, None, tmp_path / "datasets")
    for name in ("checkpoints", "runs"):
        (tmp_path / name).mkdir()
    return Execution(
        dataset_dir=dataset.path,
        checkpoint_dir=tmp_path / "checkpoints",
        weights_dir=tmp_path / "runs",
        n_workers=1,
        device="cpu",
        checkpoint_every_seconds=0.0,
    )


@pytest.fixture
def pack() -> Pack:
    configs = [
        resolve(override(DecoderConfig(), {**SETTINGS, "optim.lr_max": rate}, "test"))
        for rate in (0.005, 0.002)
    ]
    return Pack("pack", 1, tuple(Run(f"run{i}", config) for i, config in enumerate(configs)))


def access_to(execution: Execution, *, results: bool = False, dataset: bool = False) -> Access:
    """What a node is told; it sees the folders that are named."""
    marker = execution.checkpoint_dir / ".seen"
    marker.write_text("nonce")
    stamps = stamps_of(execution.dataset_dir)
    if not dataset:
        stamps = {name: (size, time, inode + 1) for name, (size, time, inode) in stamps.items()}
    source = FolderSource(execution.dataset_dir, execution.checkpoint_dir, execution.start_files)
    return Access("nonce" if results else "another", (marker,), stamps, source)


def receiver_of(execution: Execution, pack: Pack) -> Receiver:
    folders: dict[Kind, Path | None] = {
        "checkpoints": execution.checkpoint_dir,
        "weights": execution.weights_dir,
    }
    return Receiver(folders, [pack])


def steps_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("step-*.json"))


def weights_in(folder: Path | None) -> dict[str, bytes]:
    assert folder is not None
    kept = [*folder.rglob("weights.*"), *folder.rglob("*logits.*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def train(
    pack: Pack, execution: Execution, access: Access, until_step: int | None = None
) -> dict[str, RunResult]:
    """Train on a node and receive; a node is lost when it reaches `until_step`."""
    receiver, results = receiver_of(execution, pack), {}
    for given in train_away(pack, execution, access, train_pack):
        if isinstance(given, Progress):
            results |= {result.run_id: result for result in given.finished}
            if until_step is not None and given.step >= until_step:
                break
        else:
            receiver.take(pack.pack_id, given)
    return results


def timeless(results: dict[str, RunResult]) -> dict[str, RunResult]:
    return {
        run_id: dataclasses.replace(result, pack_seconds=0.0, peak_memory_bytes=0)
        for run_id, result in results.items()
    }


@pytest.fixture
def reference(driver: Execution, pack: Pack, tmp_path: Path) -> Any:
    """Results and weights where the folders are seen."""
    here = dataclasses.replace(driver, checkpoint_dir=tmp_path / "c", weights_dir=tmp_path / "w")
    events = train_pack(pack, here)
    results = {result.run_id: result for event in events for result in event.finished}
    return timeless(results), weights_in(here.weights_dir)


def test_a_node_that_sees_nothing_gets_the_recordings_and_gives_back_results_and_weights(
    driver: Execution, pack: Pack, reference: Any, tmp_path: Path
) -> None:
    results = timeless(train(pack, driver, access_to(driver)))
    kept = weights_in(driver.weights_dir)
    assert (results, kept) == reference
    assert {"run0/logits.npz", "run1/logits.json", "run1/test_logits.npz"} <= set(kept)
    assert len(list((tmp_path / "node").glob("datasets/*/train_features.f32"))) == 1
    assert list((tmp_path / "node" / "packs").iterdir()) == []
    assert not (driver.checkpoint_dir / "pack").exists()


def test_a_node_gets_the_weights_that_runs_start_from_unless_it_sees_them(
    driver: Execution, pack: Pack, tmp_path: Path
) -> None:
    """On the node something else has the path of the driver's file."""
    sessions = open_dataset(driver.dataset_dir).sessions
    model = PackedDecoder(pack.runs[0].config.model, 1, len(sessions), 16, 41, seed=5)
    here = tmp_path / "start" / "my best checkpoint"
    here.parent.mkdir()
    save_official(here, model, 0, pack.runs[0].config, "t15", {})
    here.with_name("args.yaml").write_text(yaml.safe_dump({"dataset": {"sessions": [*sessions]}}))
    start = {"train.start_from": str(here)}
    configs = [
        with_start_hash(override(run.config, start if index else {}, "test"))
        for index, run in enumerate(pack.runs)
    ]
    pack = Pack("pack", 1, tuple(Run(f"run{i}", config) for i, config in enumerate(configs)))
    driver = dataclasses.replace(driver, start_files={str(here): here})
    seen = timeless(train(pack, driver, access_to(driver, results=True, dataset=True)))
    assert not (tmp_path / "node" / "starts").exists()
    moved = here.rename(tmp_path / "moved")
    here.with_name("args.yaml").rename(tmp_path / "args.yaml")
    here.write_bytes(b"something else")
    access = access_to(dataclasses.replace(driver, start_files={str(here): moved}))
    for _ in range(2):  # it is sent once
        assert timeless(train(pack, driver, access)) == seen
    [folder] = (tmp_path / "node" / "starts").glob("[!.]*")
    assert {path.name for path in folder.glob("[!.]*")} == {"best_checkpoint", "args.yaml"}
    assert (folder / "best_checkpoint").read_bytes() == moved.read_bytes()


def test_another_node_goes_on_from_the_checkpoint_that_a_lost_one_sent(
    driver: Execution, pack: Pack, reference: Any
) -> None:
    train(pack, driver, access_to(driver), until_step=8)
    (*_, newest) = steps_below(driver.checkpoint_dir)
    assert int(newest[5:14]) in (6, 7, 8)
    assert set(weights_in(driver.weights_dir)) >= {"run0/weights.json", "run1/weights.json"}
    begun: list[int] = []

    def follow(pack: Pack, execution: Execution) -> Iterator[Progress]:
        for event in train_pack(pack, execution):
            begun.append(event.step)
            yield event

    receiver, results = receiver_of(driver, pack), dict[str, RunResult]()
    for given in train_away(pack, driver, access_to(driver), follow):
        if isinstance(given, Progress):
            results |= {result.run_id: result for result in given.finished}
        else:
            receiver.take("pack", given)
    assert begun[0] >= 8
    assert (timeless(results), weights_in(driver.weights_dir)) == reference


def test_a_pause_is_told_after_its_checkpoint_has_arrived(driver: Execution, pack: Pack) -> None:
    until = dataclasses.replace(driver, until_step=6, checkpoint_every_seconds=1000.0)
    receiver = receiver_of(driver, pack)
    for given in train_away(pack, until, access_to(driver), train_pack):
        if not isinstance(given, Progress):
            receiver.take("pack", given)
        elif given.paused:
            assert steps_below(driver.checkpoint_dir) == ["step-000000006.json"]
            assert len(weights_in(driver.weights_dir)) == 4
    assert steps_below(driver.checkpoint_dir) == ["step-000000006.json"]


def test_checkpoints_travel_no_more_often_than_said(driver: Execution, pack: Pack) -> None:
    """They are written after every step, since their interval is read once by the trainer."""

    def train_often(pack: Pack, execution: Execution) -> Iterator[Progress]:
        yield from train_pack(pack, dataclasses.replace(execution, checkpoint_every_seconds=0.0))

    seldom = dataclasses.replace(driver, checkpoint_every_seconds=1000.0)
    given: list[Progress | Parcel] = list(train_away(pack, seldom, access_to(driver), train_often))
    kinds = [getattr(one, "kind", "kept") for one in given if not isinstance(one, Progress)]
    assert kinds == ["weights"] * 12 + ["kept"]  # weights and logits of two runs
    assert isinstance(given[-1], KeptFiles) and not given[-1].names


@pytest.mark.parametrize(("results", "dataset"), [(True, True), (True, False), (False, True)])
def test_what_a_node_sees_is_not_sent(
    driver: Execution, pack: Pack, tmp_path: Path, results: bool, dataset: bool
) -> None:
    given = list(
        train_away(pack, driver, access_to(driver, results=results, dataset=dataset), train_pack)
    )
    assert (tmp_path / "node" / "datasets").exists() != dataset
    assert all(isinstance(one, Progress) for one in given) == results
    assert bool(weights_in(driver.weights_dir)) == results


def test_how_a_pack_was_split_goes_back_at_once(driver: Execution, pack: Pack) -> None:
    in_parts = dataclasses.replace(driver, max_runs_per_pack=1, checkpoint_every_seconds=1000.0)
    receiver, finished = receiver_of(driver, pack), list[str]()
    for given in train_away(pack, in_parts, access_to(driver), train_pack):
        if not isinstance(given, Progress):
            receiver.take("pack", given)
        elif given.step:  # a part has begun to train
            finished += [result.run_id for result in given.finished]
            assert (driver.checkpoint_dir / "pack" / "split.json").exists()
    assert finished == ["run0", "run1"]
    assert not (driver.checkpoint_dir / "pack").exists()
