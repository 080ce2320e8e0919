"""Compares our decoder with the official T15 code: logits, losses, schedules, smoothing, size.

    python benchmarks/fidelity.py --official PATH/TO/nejm-brain-to-text/model_training

The exit code is non-zero if a difference exceeds its bound.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from official import (
    Official,
    load_official,
    make_official_model,
    official_args,
    official_state_dict,
)

from decoder import optim
from decoder.config import DecoderConfig, load_config, override, resolve
from decoder.ctc import greedy_decode
from decoder.data.alignment import output_lengths
from decoder.data.prepare import prepare
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.pack import Pack, Run
from decoder.schedules import learning_rates
from decoder.smoothing import gaussian_taps, smooth
from decoder.state import PackState
from decoder.step import forward_backward, update_weights

BASES = Path(__file__).parent.parent / "ablations" / "base"


def logits_difference(
    official: Official, config: DecoderConfig, n_days: int, n_features: int, batch: int, n_bins: int
) -> dict[str, float]:
    """Largest difference of logits for equal weights, by implementation of the GRU."""
    ours = PackedDecoder(config.model, 2, n_days, n_features, 41, seed=0)
    source = torch.Generator().manual_seed(1)
    for weight in ours.day_layer.weights:  # not the identity, so that a transposition shows
        weight.data += 0.1 * torch.randn(weight[:1].shape, generator=source)
    theirs = make_official_model(official, config, n_days, n_features, dropout=False).eval()
    theirs.load_state_dict(official_state_dict(ours, 0))
    x = torch.randn(batch, n_bins, n_features, generator=source)
    day = torch.arange(batch) * n_days // batch
    differences = {}
    with torch.no_grad():
        expected = theirs(x, day)
        for kernel in ("torch", "batched"):
            ours.kernel = kernel  # type: ignore[assignment]
            got = ours(x.expand(2, *x.shape), day_slices(day)).logits
            differences[kernel] = float((got - expected.transpose(0, 1)).abs().max())
    assert expected.abs().max() > 0.1
    return differences


def loss_difference(
    official: Official, config: DecoderConfig, dataset: Dataset, n_steps: int
) -> tuple[float, float, float]:
    """Train both for `n_steps` without noise and dropout.

    Returns:
        The largest relative difference of losses, the largest relative difference of weights
        afterwards, and the last loss.
    """
    quiet = {
        "augment.white_noise_std": 0.0,
        "augment.constant_offset_std": 0.0,
        "model.rnn_dropout": 0.0,
        "model.input_dropout": 0.0,
    }
    config = resolve(override(config, quiet, "fidelity"))
    pack = Pack("fidelity", 3, (Run("run", config),))
    state = PackState.start(pack, dataset, torch.device("cpu"))
    trials = Trials.select(dataset, config)

    theirs = make_official_model(
        official, config, len(dataset.sessions), dataset.n_features, dropout=False
    )
    theirs.load_state_dict(official_state_dict(state.model, 0))
    trainer = official.trainer.BrainToTextDecoder_Trainer
    shell = SimpleNamespace(args=official_args(config), model=theirs)
    optimizer = trainer.create_optimizer(shell)
    scheduler = trainer.create_cosine_lr_scheduler(shell, optimizer)
    ctc = torch.nn.CTCLoss(blank=0, reduction="none", zero_infinity=False)

    worst = 0.0
    for step in range(n_steps):
        batch = trials.draw(pack.seed, step)
        losses, gradients = forward_backward(
            state.model, state.configs, batch, pack.seed, state.step
        )
        update_weights(state, gradients, losses, optim.gradient_norms(gradients))
        state.step += 1

        cut = _cut_of(config, pack.seed, step)
        optimizer.zero_grad()
        features = official.augmentations.gauss_smooth(batch.features[:, cut:], "cpu", 2, 100)
        logits = theirs(features, batch.day)
        loss = ctc(
            logits.log_softmax(2).permute(1, 0, 2),
            batch.labels,
            output_lengths(batch.n_bins - cut, config.model),
            batch.n_labels,
        ).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm=10.0)
        optimizer.step()
        scheduler.step()
        worst = max(worst, abs(float(losses[0]) / float(loss.detach()) - 1))
    weights = official_state_dict(state.model, 0)
    expected = theirs.state_dict()
    drift = max(
        float((weights[n] - expected[n]).norm() / (expected[n].norm() + 1e-12)) for n in expected
    )
    return worst, drift, float(loss)


def _cut_of(config: DecoderConfig, seed: int, step: int) -> int:
    from decoder.seeding import generator

    source = generator(seed, "random_cut", step)
    return int(torch.randint(config.augment.random_cut, (), generator=source))


def schedule_difference(official: Official, config: DecoderConfig) -> float:
    """Largest absolute difference of any group's learning rate at any step."""
    config = resolve(override(config, {"optim.lr_warmup_steps_day": 37}, "fidelity"))
    theirs = make_official_model(official, config, 1, 4, dropout=False)
    trainer = official.trainer.BrainToTextDecoder_Trainer
    shell = SimpleNamespace(args=official_args(config), model=theirs)
    optimizer = trainer.create_optimizer(shell)
    scheduler = trainer.create_cosine_lr_scheduler(shell, optimizer)
    worst = 0.0
    for step in range(config.train.n_steps + 10):
        rates = learning_rates(config.optim, step)
        for group, name in zip(optimizer.param_groups, ("bias", "day", "weight"), strict=True):
            worst = max(worst, abs(group["lr"] - rates[name]))  # type: ignore[index]
        optimizer.step()
        scheduler.step()
    return worst


def smoothing_difference(official: Official) -> float:
    x = torch.randn(3, 200, 32, generator=torch.Generator().manual_seed(0))
    expected = official.augmentations.gauss_smooth(x, "cpu", 2, 100)
    return float((smooth(x, gaussian_taps(2.0, 100)) - expected).abs().max())


def decoding_difference() -> int:
    """Number of random argmax sequences that the official code decodes differently."""
    best = torch.randint(0, 4, (200, 60), generator=torch.Generator().manual_seed(0))
    lengths = torch.randint(1, 61, (200,), generator=torch.Generator().manual_seed(1))
    different = 0
    for row, length, got in zip(best, lengths, greedy_decode(best, lengths), strict=True):
        merged = torch.unique_consecutive(row[:length])
        different += [int(i) for i in merged if i != 0] != got
    return different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    official = load_official(options.official)
    small, full = load_config(BASES / "t15_small.yaml"), load_config(BASES / "t15_official.yaml")

    rows: list[tuple[str, float, float]] = []
    for kernel, value in logits_difference(official, small, 4, 64, 8, 131).items():
        rows.append((f"logits, small, {kernel} kernel: largest difference", value, 1e-5))
    for kernel, value in logits_difference(official, full, 3, 512, 3, 200).items():
        rows.append((f"logits, full size, {kernel} kernel: largest difference", value, 1e-5))
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare("synthetic:small", None, None, Path(folder))
        worst, drift, last = loss_difference(official, small, dataset, options.steps)
    rows.append((f"losses over {options.steps} steps: largest relative difference", worst, 1e-4))
    rows.append((f"weights after {options.steps} steps: largest relative difference", drift, 1e-5))
    rows.append(
        (
            "learning rates at every step, small: largest difference",
            schedule_difference(official, small),
            1e-12,
        )
    )
    rows.append(
        (
            "learning rates at every step, full: largest difference",
            schedule_difference(official, full),
            1e-12,
        )
    )
    rows.append(("smoothing: largest difference", smoothing_difference(official), 1e-6))
    rows.append(("greedy decoding: sequences that differ of 200", decoding_difference(), 0))
    theirs = make_official_model(official, full, 45, 512, dropout=True)
    n_theirs = sum(p.numel() for p in theirs.parameters())
    n_ours = PackedDecoder(full.model, 1, 45, 512, 41, seed=0).n_parameters()
    rows.append(
        (f"parameters, full size, 45 days ({n_ours:,}): difference", abs(n_ours - n_theirs), 0)
    )

    failed = 0
    for what, value, bound in rows:
        verdict = "ok" if value <= bound else "EXCEEDS"
        failed += value > bound
        print(f"{what:70s} {value:10.3g}  (bound {bound:g})  {verdict}")
    print(f"loss at the last of {options.steps} steps: {last:.3f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
