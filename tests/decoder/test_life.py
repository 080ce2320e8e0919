"""Signs of life advance through training, and a request to stop writes a checkpoint at once."""

from pathlib import Path

import pytest

from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.data.store import Dataset
from decoder.life import ask_to_stop, is_asked_to_stop, signs
from decoder.pack import Pack, Progress, Run, RunResult
from decoder.train import train

SMALL = {
    "data.batch_size": 6,
    "data.days_per_batch": 3,
    "model.n_units": 12,
    "model.n_layers": 1,
    "model.patch_size": 6,
    "model.patch_stride": 4,
    "optim.lr_warmup_steps": 3,
    "train.n_steps": 12,
    "train.eval_every_steps": 4,
}


def make_pack(dataset: Dataset) -> Pack:
    runs = []
    for rate in (0.005, 0.002):
        config = resolve(override(DecoderConfig(), {**SMALL, "optim.lr_max": rate}, "test"))
        runs.append(Run(run_id(config, 1, dataset.fingerprint), config))
    return Pack("pack", 1, tuple(runs))


def histories(events: list[Progress]) -> dict[str, tuple[dict[str, float], ...]]:
    results: list[RunResult] = [result for event in events for result in event.finished]
    return {result.run_id: result.history for result in results}


@pytest.mark.parametrize("n_steps", [0, 1, 6])
def test_a_stop_saves_the_present_step_and_the_rest_is_equal_to_the_bit(
    dataset: Dataset, tmp_path: Path, n_steps: int
) -> None:
    pack = make_pack(dataset)
    whole = list(train(pack, dataset, device="cpu"))
    training = train(
        pack, dataset, device="cpu", checkpoint_dir=tmp_path / "p", report_every_seconds=1e-9
    )
    try:
        for _ in range(n_steps):
            assert next(training).step == signs().step + 1  # reported after every step
        ask_to_stop()
        assert list(training) == []
    finally:
        ask_to_stop(False)
    saved = sorted(path.name for path in (tmp_path / "p").glob("step-*.json"))
    assert bool(saved) == bool(n_steps)
    assert all(str(n_steps) in name for name in saved)
    rest = list(train(pack, dataset, device="cpu", checkpoint_dir=tmp_path / "p"))
    assert histories(rest) == histories(whole)


def test_every_step_and_every_part_of_an_evaluation_shows_a_sign(dataset: Dataset) -> None:
    before = signs().n_signs
    list(train(make_pack(dataset), dataset, device="cpu"))
    n_steps, n_evaluations = 12, 3
    assert signs().step == n_steps - 1
    assert signs().n_signs - before >= 3 * n_steps + n_evaluations


def test_beam_search_shows_a_sign_at_every_trial(dataset: Dataset) -> None:
    pack = make_pack(dataset)
    config = override(pack.runs[0].config, {"evaluation.use_beam_search": True}, "test")
    counts = []
    for one in (pack.runs[0].config, config):
        before = signs().n_signs
        list(train(Pack("p", 1, (Run("run", one),)), dataset, device="cpu"))
        counts.append(signs().n_signs - before)
    assert counts[1] >= len(dataset.val.day) + 3 * 12


def test_without_a_request_nothing_is_asked() -> None:
    assert not is_asked_to_stop()
