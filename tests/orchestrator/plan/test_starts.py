"""Arms that start from weights: their hash makes the runs, and what does not fit stops the plan."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from decoder.config import DecoderConfig, override
from decoder.errors import ConfigError
from decoder.model.decoder import PackedDecoder
from decoder.pack import Run
from decoder.weights import save_weights
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan
from orchestrator.plan.starts import remarks_on_starts
from orchestrator.spec.load import Loaded

Load = Callable[..., Loaded]
PlanOf = Callable[..., Plan]
DAYS = ("t15.2000.01.01", "t15.2000.01.08")  # those of the described recordings
MODEL = {"model.n_units": 8, "model.n_layers": 1}


def write(folder: Path, sessions: Sequence[str] = DAYS, seed: int = 1, **changes: Any) -> str:
    config = override(DecoderConfig(), {**MODEL, **changes}, "test")
    model = PackedDecoder(config.model, 1, len(sessions), 16, 41, seed)
    save_weights(folder, model, 0, config, sessions, {})
    return str(folder / "weights.safetensors")


def with_start(load: Load, path: str, **changes: Any) -> Loaded:
    start = {"scratch": {}, "tuned": {"train.start_from": path, **changes}}
    return load({"factors/start": start, "hypotheses": {}, "seeds": [1]})


def runs_of(plan: Plan) -> dict[str, Run]:
    """Arm id → its run, as it is trained."""
    runs = {run.run_id: run for pack in packs_to_train(plan.packs, ()) for run in pack.runs}
    return {run.arm_id: runs[run.run_id] for run in plan.runs}


def test_the_hash_of_the_file_is_part_of_its_runs_alone(
    load: Load, plan_of: PlanOf, tmp_path: Path
) -> None:
    path = write(tmp_path / "start")
    first = plan_of(with_start(load, path))
    plain = set(plan_of(load({"hypotheses": {}, "seeds": [1]})).distinct)
    assert plain < set(first.distinct) and len(first.distinct) == 2 * len(plain)
    assert len({pack.shape for pack in first.packs}) == 1
    for run in runs_of(first).values():
        assert ("train.start_from" in run.config.files) == (run.config.train.start_from == path)
    write(tmp_path / "start", seed=2)
    second = plan_of(with_start(load, path))
    assert set(first.distinct) & set(second.distinct) == plain


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"sessions": ("t12.2022.04.28",)}, "no day in common"),
        ({"sessions": DAYS[:1]}, DAYS[1]),
        ({"model.n_units": 9}, "another shape"),
        ({"model.architecture": "lstm"}, "another architecture"),
        (None, "no file"),
    ],
)
def test_weights_that_do_not_fit_stop_the_plan_with_one_message(
    load: Load,
    plan_of: PlanOf,
    tmp_path: Path,
    written: dict[str, Any] | None,
    said: str,
) -> None:
    path = str(tmp_path / "weights") if written is None else write(tmp_path / "start", **written)
    with pytest.raises(ConfigError) as caught:
        plan_of(with_start(load, path))
    [text] = caught.value.problems
    assert said in text and "train.start_from" in text and "in 3 more arms" in text


def test_another_number_of_classes_stops_the_plan(
    load: Load, plan_of: PlanOf, tmp_path: Path
) -> None:
    config = override(DecoderConfig(), MODEL, "test")
    save_weights(tmp_path, PackedDecoder(config.model, 1, 2, 16, 31, 1), 0, config, DAYS, {})
    with pytest.raises(ConfigError, match="31 classes.*41"):
        plan_of(with_start(load, str(tmp_path)))


def test_new_days_are_remarked_on_once(load: Load, plan_of: PlanOf, tmp_path: Path) -> None:
    new_days = {"train.start_new_days": "mean"}
    plan = plan_of(with_start(load, write(tmp_path, DAYS[:1]), **new_days))
    [text] = remarks_on_starts((run.config, run.data) for run in plan.runs)
    assert "1 of 2" in text and DAYS[1] in text and "mean" in text
    plan = plan_of(with_start(load, write(tmp_path), **new_days))
    assert remarks_on_starts((run.config, run.data) for run in plan.runs) == []


def test_weights_that_saw_the_sessions_held_out_are_remarked_on(
    load: Load, plan_of: PlanOf, tmp_path: Path
) -> None:
    apart = {"data.held_out_sessions": 1, "data.days_per_batch": 1}
    plan = plan_of(with_start(load, write(tmp_path / "both"), **apart))
    [text] = remarks_on_starts((run.config, run.data) for run in plan.runs)
    assert DAYS[1] in text and DAYS[0] not in text and "has not seen" in text
    plan = plan_of(with_start(load, write(tmp_path / "first", DAYS[:1]), **apart))
    assert remarks_on_starts((run.config, run.data) for run in plan.runs) == []


def test_a_record_keeps_the_hash(load: Load, plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(with_start(load, write(tmp_path)))
    configs = [run.config for run in runs_of(plan).values() if run.config.train.start_from]
    for config in configs:
        assert DecoderConfig.model_validate(json.loads(config.model_dump_json())) == config
        assert len(config.files["train.start_from"]) == 64
