"""Compares our T12 configuration with the official T12 decoder, on equal weights and batches.

    OMP_NUM_THREADS=1 python benchmarks/fidelity_t12.py --official PATH/TO/src

`PATH/TO/src` holds the package ``neural_decoder`` of github.com/cffan/neural_seq_decoder. The model
is imported, not copied. The trainer needs a GPU and cannot be imported in parts, so its training
step (`torch.nn.CTCLoss`, Adam, LinearLR, lengths) and decoding are reimplemented here.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoder import optim
from decoder.config import DecoderConfig, load_config, override, resolve
from decoder.ctc import edit_distance
from decoder.data.prepare import prepare
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.evaluation import evaluate
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.official_weights import official_state_dict
from decoder.pack import Pack, Run
from decoder.phonemes import N_CLASSES
from decoder.smoothing import smooth_batch
from decoder.state import PackState
from decoder.step import forward_backward, update_weights

BASE = Path(__file__).parent.parent / "ablations" / "base" / "t12_official.yaml"
N_FEATURES = 256
# Small, without noise and dropout, and with a falling learning rate, which tests the schedule.
SMALL: dict[str, Any] = {
    "data.path": "synthetic:t12_small",
    "data.batch_size": 16,
    "model.n_units": 48,
    "model.n_layers": 2,
    "model.rnn_dropout": 0.0,
    "augment.white_noise_std": 0.0,
    "augment.constant_offset_std": 0.0,
    "optim.schedule": "linear",
    "optim.lr_min": 0.005,
}


def make_official(official: Any, config: DecoderConfig, n_days: int, n_features: int) -> Any:
    """An official ``GRUDecoder`` of the configured size on the CPU."""
    return official.GRUDecoder(
        neural_dim=n_features,
        n_classes=40,
        hidden_dim=config.model.n_units,
        layer_dim=config.model.n_layers,
        nDays=n_days,
        dropout=0,
        device="cpu",
        strideLen=config.model.patch_stride,
        kernelLen=config.model.patch_size,
        gaussianSmoothWidth=config.augment.smooth_std_bins,
        bidirectional=True,
    )


def logits_difference(official: Any, config: DecoderConfig, n_days: int, n_bins: int) -> float:
    """Largest difference of logits for equal weights."""
    ours = PackedDecoder(config.model, 2, n_days, N_FEATURES, N_CLASSES, seed=0)
    assert ours.day_layer is not None
    source = torch.Generator().manual_seed(1)
    for weight in ours.day_layer.weights:  # not the identity, so that a transposition shows
        weight.data += 0.1 * torch.randn(weight[:1].shape, generator=source)
    theirs = make_official(official, config, n_days, N_FEATURES).eval()
    theirs.load_state_dict(official_state_dict(ours, 1, config, "t12"))
    x = torch.randn(n_days, n_bins, N_FEATURES, generator=source)
    day = torch.arange(n_days)
    smoothed = smooth_batch(x, config.augment)
    with torch.no_grad():
        expected = theirs(x, day).transpose(0, 1)  # (P, B, C)
        got = ours(smoothed.expand(2, *x.shape), day_slices(day)).logits
    assert expected.abs().max() > 0.1
    return float((got - expected).abs().max())


def smoothing_difference(official: Any, config: DecoderConfig) -> float:
    """Largest difference of smoothed features."""
    x = torch.randn(3, 200, N_FEATURES, generator=torch.Generator().manual_seed(0))
    theirs = make_official(official, config, 1, N_FEATURES).gaussianSmoother
    expected = theirs(x.transpose(1, 2)).transpose(1, 2)
    return float((smooth_batch(x, config.augment) - expected).abs().max())


def parameters_in_use(official: Any, config: DecoderConfig, n_days: int) -> tuple[int, int]:
    """Number of parameters that the official decoder uses, and that ours has.

    The official decoder also has one layer per day that it never uses.
    """
    theirs = make_official(official, config, n_days, N_FEATURES)
    n_theirs = sum(p.numel() for n, p in theirs.named_parameters() if "inpLayer" not in n)
    ours = PackedDecoder(config.model, 1, n_days, N_FEATURES, N_CLASSES, seed=0)
    return n_theirs, ours.n_parameters()


def lengths_of(n_bins: Tensor, model: Any) -> Tensor:
    """The trainer's output lengths."""
    return ((n_bins - model.kernelLen) / model.strideLen).to(torch.int32)


def train_both(
    theirs: Any, state: PackState, trials: Trials, config: DecoderConfig, n_steps: int
) -> tuple[float, float, float]:
    """Train both on the same batches.

    Returns:
        The largest relative difference of losses, the largest difference of learning rates, and
        the last loss.
    """
    settings = config.optim
    optimizer = torch.optim.Adam(
        theirs.parameters(),
        lr=settings.lr_max,
        betas=(0.9, 0.999),
        eps=0.1,
        weight_decay=settings.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimizer,
        start_factor=1.0,
        end_factor=settings.lr_min / settings.lr_max,
        total_iters=n_steps,
    )
    ctc = torch.nn.CTCLoss(blank=0, reduction="mean", zero_infinity=True)
    worst, worst_rate, loss = 0.0, 0.0, torch.zeros(())
    for step in range(n_steps):
        batch = trials.draw(3, step)
        losses, gradients = forward_backward(state.model, state.configs, batch, 3, step)
        rate = optimizer.param_groups[0]["lr"]
        _, rates = update_weights(state, gradients, losses, optim.gradient_norms(gradients))
        state.step += 1
        worst_rate = max(worst_rate, abs(rates[0] - rate))

        log_probs = theirs(batch.features, batch.day).log_softmax(2).permute(1, 0, 2)
        loss = ctc(log_probs, batch.labels, lengths_of(batch.n_bins, theirs), batch.n_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        worst = max(worst, abs(float(losses[0]) / float(loss.detach()) - 1))
    return worst, worst_rate, float(loss)


@torch.no_grad()
def official_edits(theirs: Any, trials: Trials) -> int:
    """Edits over the validation trials, decoded as in the trainer."""
    n_edits = 0
    for batch in trials.validation_batches():
        logits = theirs(batch.features, batch.day)
        for row, length in enumerate(lengths_of(batch.n_bins, theirs).tolist()):
            merged = torch.unique_consecutive(logits[row, :length].argmax(-1)).tolist()
            emitted: Sequence[int] = [label for label in merged if label != 0]
            n_edits += edit_distance(emitted, batch.labels[row, : batch.n_labels[row]].tolist())
    return n_edits


def compare_parts(official: Any) -> list[tuple[str, float, float]]:
    """The comparisons without recordings, at small and at full size."""
    full = load_config(BASE)
    small = override(full, SMALL, "fidelity")
    n_theirs, n_ours = parameters_in_use(official, full, 24)
    return [
        ("logits, small: largest difference", logits_difference(official, small, 4, 131), 1e-5),
        ("logits, full size: largest difference", logits_difference(official, full, 3, 200), 1e-5),
        ("smoothing: largest difference", smoothing_difference(official, full), 1e-5),
        (f"parameters in use, 24 days ({n_ours:,}): difference", abs(n_theirs - n_ours), 0),
    ]


def compare(official: Any, dataset: Dataset, n_steps: int) -> list[tuple[str, float, float]]:
    """Rows of a comparison, its difference, and its bound."""
    changes = {**SMALL, "train.n_steps": n_steps}
    config = resolve(override(load_config(BASE), changes, "fidelity"))
    state = PackState.start(Pack("t12", 3, (Run("run", config),)), dataset, torch.device("cpu"))
    trials = Trials.select(dataset, config)
    theirs = make_official(official, config, len(dataset.sessions), dataset.n_features)
    theirs.load_state_dict(official_state_dict(state.model, 0, config, "t12"))
    worst, worst_rate, last = train_both(theirs, state, trials, config, n_steps)
    weights = official_state_dict(state.model, 0, config, "t12")
    used = {name: value for name, value in theirs.state_dict().items() if "inpLayer" not in name}
    drift = max(float((weights[n] - used[n]).norm() / used[n].norm()) for n in used)
    validation = trials.validation_batches()
    edits = evaluate(state.model, state.configs, validation, state.device).metrics.n_edits[0]
    print(f"loss at the last of {n_steps} steps {last:.3f}, {edits} edits of the validation trials")
    return [
        (f"losses over {n_steps} steps: largest relative difference", worst, 1e-4),
        (f"weights after {n_steps} steps: largest relative difference", drift, 1e-4),
        ("learning rates at every step: largest difference", worst_rate, 1e-12),
        ("edits over the validation trials", abs(edits - official_edits(theirs, trials)), 0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    sys.path.insert(0, str(options.official))
    official = importlib.import_module("neural_decoder.model")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(str(SMALL["data.path"]), None, None, Path(folder))
        rows = compare_parts(official) + compare(official, dataset, options.steps)
    for what, value, bound in rows:
        verdict = "ok" if value <= bound else "EXCEEDS"
        print(f"{what:60s} {value:10.3g}  (bound {bound:g})  {verdict}")
    return int(any(value > bound for _, value, bound in rows))


if __name__ == "__main__":
    sys.exit(main())
