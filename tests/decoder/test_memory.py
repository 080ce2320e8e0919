"""The estimate of a pack's memory: counted parameters, and what makes it grow."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from decoder.config import DecoderConfig, override, resolve
from decoder.data.store import Dataset
from decoder.memory import MemoryEstimate, RecordingsSize, estimate_memory, n_parameters, size_of
from decoder.model.decoder import PackedDecoder
from decoder.pack import Pack, Run
from decoder.state import PackState

SIZE = RecordingsSize(
    n_features=6, n_classes=11, n_days=3, longest_bins=50, longest_target=5, n_val_trials=9
)
T15 = RecordingsSize(512, 41, 45, 997, 60, 1426)
GIB = 2**30


def config(changes: dict[str, Any]) -> DecoderConfig:
    return override(DecoderConfig(), changes, "test")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.architecture": "lstm", "model.bidirectional": True, "model.h0": "zero"},
        {"model.layer_norm": True, "model.day_layer": "shared", "model.mask_token": "learned"},
        {"model.post_rnn_layers": 2, "model.post_rnn_units": 7, "model.day_layer": "none"},
        {"model.inter_ctc_layers": [1, 2], "model.bidirectional": True},
        {"model.architecture": "transformer", "model.n_heads": 2, "model.head_units": 3},
        {
            "model.architecture": "transformer",
            "model.position": "sinusoidal",
            "model.bidirectional": True,
            "model.inter_ctc_layers": [1],
            "model.post_rnn_layers": 1,
        },
    ],
)
def test_parameters_are_counted_as_the_decoder_has_them(changes: dict[str, Any]) -> None:
    model = config({"model.n_units": 8, "model.n_layers": 3, **changes}).model
    decoder = PackedDecoder(model, 2, SIZE.n_days, SIZE.n_features, SIZE.n_classes, seed=0)
    assert n_parameters(DecoderConfig(model=model), SIZE) == decoder.n_parameters()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.n_units", 1024),
        ("model.n_layers", 9),
        ("data.batch_size", 128),
        ("model.bidirectional", True),
        ("model.architecture", "lstm"),
        ("optim.ema_decay", 0.9),
        ("model.post_rnn_layers", 3),
        ("model.inter_ctc_layers", [1, 2, 3]),
        ("augment.speckle_rate", 0.1),
        ("model.layer_norm", True),
    ],
)
def test_what_takes_more_memory_is_estimated_to_take_more(path: str, value: Any) -> None:
    less, more = (estimate_memory(config(c), T15, "cpu") for c in ({}, {path: value}))
    assert more.per_run > less.per_run and more.shared >= less.shared


@pytest.mark.parametrize("field", ["n_features", "n_days", "longest_bins", "longest_target"])
def test_larger_recordings_take_more(field: str) -> None:
    larger = T15._replace(**{field: 2 * getattr(T15, field)})
    small, large = (estimate_memory(DecoderConfig(), size, "cpu") for size in (T15, larger))
    assert large.per_run > small.per_run


def test_the_official_t15_decoder_takes_what_was_measured_on_a_gpu_or_a_little_more() -> None:
    """2 to 2.5 GiB a run, in bfloat16 on an H100."""
    assert n_parameters(DecoderConfig(), T15) == 44_315_177
    found = estimate_memory(config({"train.precision": "bfloat16"}), T15, "cuda")
    assert 2.5 <= found.per_run / GIB <= 3.0


def test_the_runs_that_fit_follow_from_what_is_shared_and_what_each_adds() -> None:
    estimate = MemoryEstimate(shared=100, per_run=50)
    assert estimate.of(3) == 250
    assert [estimate.most_runs(n) for n in (0, 149, 150, 199, 200)] == [0, 0, 1, 1, 2]
    assert estimate.scaled(2.0) == MemoryEstimate(200, 100)


def test_the_sizes_of_a_data_set_are_those_of_its_longest_trials(dataset: Dataset) -> None:
    found = size_of(dataset)
    trials = [(split, i) for split in (dataset.train, dataset.val) for i in range(split.n_trials)]
    assert found.longest_bins == max(len(split.trial_features(i)) for split, i in trials)
    assert found.longest_target == max(len(split.target(i)) for split, i in trials)
    assert found.n_days == len(dataset.sessions) and found.n_val_trials == dataset.val.n_trials


def test_the_recordings_on_a_gpu_are_not_part_of_a_packs_peak(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run("run", resolve(config({"model.n_units": 8})))
    state = PackState.start(Pack("pack", 0, (run,)), dataset, torch.device("cpu"))
    state.card_bytes = 400
    monkeypatch.setattr("decoder.state.peak_memory_bytes", lambda device: 1000)
    [result] = state.finish([True], "ok", 0)
    assert result.peak_memory_bytes == 600


def test_an_estimate_loads_no_torch() -> None:
    code = "import decoder.memory, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("n_runs", [3])
def test_training_takes_no_more_than_estimated_and_not_much_less(n_runs: int) -> None:
    """Resident memory of a fresh process; benchmarks/pack_memory.py has more sizes."""
    from decoder.memory import PROCESS_BYTES

    command = [sys.executable, "benchmarks/pack_memory.py", "--runs", str(n_runs)]
    answer = subprocess.run(
        [*command, "--one", "large model"], capture_output=True, text=True, check=True
    )
    size = RecordingsSize(128, 41, 8, 200, 20, 64)
    changes = {"model.n_units": 512, "model.n_layers": 4, "data.batch_size": 16}
    estimated = PROCESS_BYTES + estimate_memory(config(changes), size, "cpu").of(n_runs)
    assert 0.95 < estimated / int(answer.stdout) < 1.5


@pytest.mark.parametrize(
    ("changes", "n_bytes"),
    [({"evaluation.words.decoder": "beam"}, 4), ({"train.keep_logits": "validation"}, 4)],
)
def test_what_is_kept_of_every_validation_trial_counts_on_the_host(
    changes: dict[str, Any], n_bytes: int
) -> None:
    many = SIZE._replace(n_val_trials=10**6)
    patches = {"model.patch_size": 10, "model.patch_stride": 10}  # 5 patches in 50 bins
    without, kept = (estimate_memory(config(patches | c), many, "cpu") for c in ({}, changes))
    more = n_bytes * 10**6 * 5 * many.n_classes
    assert more < kept.per_run < 1.1 * more + without.per_run
    on_card = [estimate_memory(config(patches | c), many, "cuda") for c in ({}, changes)]
    assert on_card[0] == on_card[1]
