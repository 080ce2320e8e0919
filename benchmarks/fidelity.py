"""Compares our decoder with the official T15 code: logits, losses, schedules, smoothing, size.

    python benchmarks/fidelity.py --official PATH/TO/nejm-brain-to-text/model_training
        [--device cuda] [--kernel fused] [--precision bfloat16]

In float32 every difference has a fixed bound. In bfloat16 every way of computing rounds otherwise.
The script then states by how much the official code differs from itself with its units and features
in another order, that is, with other orders of summation, and from itself in float32. Our decoder
may differ from the official one in bfloat16 by twice the latter: as two ways that both round.

The exit code is non-zero if a difference exceeds its bound.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, get_args

import torch
from fidelity_parts import STATED, Difference, compare_parts
from official import (
    Official,
    load_official,
    make_official_model,
    official_args,
    official_state_dict,
)
from t15_shape import SMALL, T15, random_store
from torch import Tensor

from decoder.config import DecoderConfig, load_config, override, resolve
from decoder.data.alignment import output_lengths
from decoder.data.batches import Batch
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.model.cells import Kernel
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.precision import autocast
from decoder.pack import Pack, Run
from decoder.seeding import generator
from decoder.state import PackState
from decoder.step import forward_backward, update_weights

BASES = Path(__file__).parent.parent / "ablations" / "base"
Precision = Literal["float32", "bfloat16"]
Weights = dict[str, Tensor]  # under the official names
# Without noise and dropout, so that no random stream matters.
QUIET: dict[str, Any] = {
    "augment.white_noise_std": 0.0,
    "augment.constant_offset_std": 0.0,
    "model.rnn_dropout": 0.0,
    "model.input_dropout": 0.0,
}


class Setting(NamedTuple):
    """How both sides compute."""

    device: torch.device
    precision: Precision
    kernels: Sequence[Kernel]

    def autocast(self, precision: Precision | None = None) -> AbstractContextManager[Any]:
        """The context of a precision; None means that of the setting."""
        return autocast(precision or self.precision, self.device)


class Trained(NamedTuple):
    """The losses of all steps, and the weights after them."""

    losses: list[float]
    weights: Weights


def reordered(weights: Mapping[str, Tensor], source: torch.Generator) -> tuple[Weights, Tensor]:
    """The same decoder with units and features in another order, and the order of its features.

    All layers have the same order, because they share h0.
    """
    H = weights["h0"].shape[-1]
    units = torch.randperm(H, generator=source)
    features = torch.randperm(weights["day_weights.0"].shape[0], generator=source)
    gates = torch.cat([units, H + units, 2 * H + units])
    found: Weights = {}
    for name, value in weights.items():
        if name == "h0":
            value = value[..., units]
        elif name.startswith("day_weights"):
            value = value[features]
        elif name.startswith("gru"):
            value = value[gates]
            if "weight_hh" in name or ("weight_ih" in name and not name.endswith("_l0")):
                value = value[:, units]
        elif name == "out.weight":
            value = value[:, units]
        found[name] = value.clone()
    return found, features


def compare_logits(
    official: Official,
    config: DecoderConfig,
    n_days: int,
    n_features: int,
    n_bins: Tensor,
    setting: Setting,
    size: str,
) -> list[Difference]:
    """Logits of the valid patches for equal weights.

    Args:
        official: the official modules.
        config: the size of the decoder.
        n_days, n_features: of the decoder.
        n_bins: (B,) valid bins of random trials.
        setting: how to compute, and the kernels to compare.
        size: its name in the results.
    """
    device = setting.device
    ours = PackedDecoder(config.model, 2, n_days, n_features, 41, seed=0)
    source = torch.Generator().manual_seed(1)
    assert ours.day_layer is not None
    for weight in ours.day_layer.weights:  # not the identity, so that a transposition shows
        weight.data += 0.1 * torch.randn(weight[:1].shape, generator=source)
    weights = official_state_dict(ours, 0)
    B, n_longest = len(n_bins), int(n_bins.max())
    x = torch.randn(B, n_longest, n_features, generator=source)
    day = torch.arange(B) * n_days // B
    lengths = output_lengths(n_bins, config.model)

    def valid(logits: Tensor) -> Tensor:
        """(P, B, C) → the rows of valid patches."""
        return logits[torch.arange(len(logits))[:, None] < lengths].float().cpu()

    def officially(weights: Weights, x: Tensor, precision: Precision) -> Tensor:
        theirs = make_official_model(official, config, n_days, n_features, dropout=False).eval()
        theirs.load_state_dict(weights)
        with torch.no_grad(), setting.autocast(precision):
            found: Tensor = theirs.to(device)(x.to(device), day.to(device))
        return valid(found.transpose(0, 1).cpu())

    expected = officially(weights, x, setting.precision)
    assert expected.abs().max() > 0.1
    ours.to(device)
    got = {}
    for kernel in setting.kernels:
        ours.kernel = kernel
        with torch.no_grad(), setting.autocast():
            of_runs = x.to(device).expand(2, *x.shape)
            logits = ours(of_runs, day_slices(day), n_patches=lengths).logits
        got[kernel] = torch.stack([valid(run.cpu()) for run in logits])
    if setting.precision == "float32":
        bound = 1e-5 if device.type == "cpu" else 1e-4
        return [
            Difference(
                f"logits, {size}, {kernel} kernel: largest difference",
                float((own - expected).abs().max()),
                bound,
            )
            for kernel, own in got.items()
        ]
    exact = officially(weights, x, "float32")
    others, features = reordered(weights, source)
    again = officially(others, x[..., features], setting.precision)
    error = _relative(expected, exact)
    differences = [
        Difference(
            f"logits, {size}: official in another order", _relative(again, expected), STATED
        ),
        Difference(f"logits, {size}: official, bfloat16 and float32", error, STATED),
    ]
    for kernel, own in got.items():
        name = f"logits, {size}, {kernel} kernel"
        worst = max(_relative(run, expected) for run in own)
        differences.append(Difference(f"{name}: relative difference", worst, 2 * error))
        worst = max(_relative(run, exact) for run in own)
        differences.append(Difference(f"{name}: to official float32", worst, 1.5 * error))
    return differences


def compare_training(
    official: Official,
    config: DecoderConfig,
    dataset: Dataset,
    n_steps: int,
    setting: Setting,
    size: str,
) -> list[Difference]:
    """Losses of all steps and weights after them, without noise and dropout."""
    changes = {**QUIET, "train.precision": setting.precision}
    config = resolve(override(config, changes, "fidelity"))
    pack = Pack("fidelity", 3, (Run("run", config),))
    trials = Trials.select(dataset, config)
    batches = [trials.draw(pack.seed, step) for step in range(n_steps)]
    start = PackState.start(pack, dataset, torch.device("cpu"))
    weights = official_state_dict(start.model, 0)

    def officially(weights: Weights, precision: Precision, features: Tensor | None) -> Trained:
        return _train_officially(
            official, config, weights, batches, pack.seed, setting, precision, features
        )

    expected = officially(weights, setting.precision, None)
    results = {
        kernel: _train_ours(pack, dataset, batches, kernel, setting) for kernel in setting.kernels
    }
    loss_bound, weight_bound = 1e-4, 1e-5 if setting.device.type == "cpu" else 1e-4
    differences = []
    if setting.precision == "bfloat16":
        exact = officially(weights, "float32", None)
        others, features = reordered(weights, torch.Generator().manual_seed(2))
        again = officially(others, setting.precision, features)
        what = f"losses over {n_steps} steps, {size}"
        loss_error = _loss_difference(expected, exact)
        differences += [
            Difference(
                f"{what}: official in another order", _loss_difference(again, expected), STATED
            ),
            Difference(f"{what}: official, bfloat16 and float32", loss_error, STATED),
        ]
        weight_error = _weight_difference(expected.weights, exact.weights)
        what = f"weights after {n_steps} steps, {size}: official, bfloat16 and float32"
        differences.append(Difference(what, weight_error, STATED))
        loss_bound, weight_bound = 2 * loss_error, 2 * weight_error
    for kernel, own in results.items():
        name = f"{n_steps} steps, {size}, {kernel} kernel: relative"
        loss, weight = (
            _loss_difference(own, expected),
            _weight_difference(own.weights, expected.weights),
        )
        differences.append(Difference(f"losses over {name}", loss, loss_bound))
        differences.append(Difference(f"weights after {name}", weight, weight_bound))
    print(f"{size}: the losses went from {expected.losses[0]:.3f} to {expected.losses[-1]:.3f}")
    return differences


def _train_ours(
    pack: Pack, dataset: Dataset, batches: Sequence[Batch], kernel: Kernel, setting: Setting
) -> Trained:
    state = PackState.start(pack, dataset, setting.device)
    state.model.kernel = kernel
    losses = []
    for batch in batches:
        loss, gradients = forward_backward(
            state.model, state.configs, batch.to(setting.device), pack.seed, state.step
        )
        update_weights(state, gradients, loss, state.optimizer.norms(gradients))
        state.step += 1
        losses.append(float(loss[0]))
    return Trained(losses, {n: v.cpu() for n, v in official_state_dict(state.model, 0).items()})


def _train_officially(
    official: Official,
    config: DecoderConfig,
    weights: Weights,
    batches: Sequence[Batch],
    seed: int,
    setting: Setting,
    precision: Precision,
    features: Tensor | None,
) -> Trained:
    """The steps of the official trainer; `features` is the order in which the trials have them."""
    device = setting.device
    n_days = sum(name.startswith("day_weights") for name in weights)
    n_features = weights["day_weights.0"].shape[0]
    theirs = make_official_model(official, config, n_days, n_features, dropout=False)
    theirs.load_state_dict(weights)
    theirs.to(device)
    trainer = official.trainer.BrainToTextDecoder_Trainer
    shell = SimpleNamespace(args=official_args(config), model=theirs)
    optimizer = trainer.create_optimizer(shell)
    scheduler = trainer.create_cosine_lr_scheduler(shell, optimizer)
    ctc = torch.nn.CTCLoss(blank=0, reduction="none", zero_infinity=False)
    losses = []
    for step, batch in enumerate(batches):
        cut = _cut_of(config, seed, step)
        x = batch.features[:, cut:]
        x = (x if features is None else x[..., features]).to(device)
        optimizer.zero_grad()
        with setting.autocast(precision):
            x = official.augmentations.gauss_smooth(x, device, 2, 100)
            loss = ctc(
                theirs(x, batch.day.to(device)).log_softmax(2).permute(1, 0, 2),
                batch.labels.to(device),
                output_lengths(batch.n_bins - cut, config.model).to(device),
                batch.n_labels.to(device),
            ).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm=10.0)
        optimizer.step()
        scheduler.step()
        losses.append(float(loss.detach()))
    return Trained(losses, {n: v.detach().cpu() for n, v in theirs.state_dict().items()})


def _cut_of(config: DecoderConfig, seed: int, step: int) -> int:
    source = generator(seed, "random_cut", step)
    return int(torch.randint(config.augment.random_cut, (), generator=source))


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / (b.norm() + 1e-12))


def _loss_difference(a: Trained, b: Trained) -> float:
    return max(abs(x / y - 1) for x, y in zip(a.losses, b.losses, strict=True))


def _weight_difference(a: Weights, b: Weights) -> float:
    """The largest relative difference of a tensor."""
    return max(_relative(a[name], b[name]) for name in b)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kernel", nargs="+", choices=get_args(Kernel), help="default: all")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # float32 in full on both sides
    device = torch.device(options.device)
    kernels = options.kernel or [
        kernel for kernel in get_args(Kernel) if kernel != "fused" or device.type == "cuda"
    ]
    setting = Setting(device, options.precision, kernels)
    official = load_official(options.official)
    small, full = load_config(BASES / "t15_small.yaml"), load_config(BASES / "t15_official.yaml")
    lengths = torch.tensor([131, 70, 99, 131, 40, 120, 88, 77])
    rows = compare_logits(official, small, 4, 64, lengths, setting, "small")
    lengths = torch.tensor([200, 87, 151])
    rows += compare_logits(official, full, 3, 512, lengths, setting, "full size")
    with tempfile.TemporaryDirectory() as folder:
        dataset = small_dataset(Path(folder))
        rows += compare_training(official, small, dataset, options.steps, setting, "small")
        if device.type != "cpu":  # where it takes seconds
            shape = T15._replace(n_days=4, n_train=32)
            dataset = random_store(shape, Path(folder) / "full")
            soon = override(full, {"optim.lr_warmup_steps": 20}, "fidelity")
            rows += compare_training(official, soon, dataset, options.steps, setting, "full size")
    rows += compare_parts(official)

    failed = 0
    for what, value, bound in rows:
        verdict = "ok" if value <= bound else "EXCEEDS"
        failed += not value <= bound
        said = "(stated)" if bound == STATED else f"(bound {bound:.3g})  {verdict}"
        print(f"{what:75s} {value:10.3g}  {said}")
    return 1 if failed else 0


def small_dataset(folder: Path) -> Dataset:
    """``synthetic:small``; random trials of its size where h5py, which reads it, is missing."""
    if importlib.util.find_spec("h5py") is None:
        print("h5py is missing: random trials take the place of synthetic:small")
        return random_store(SMALL._replace(n_features=64, n_bins=(80, 200)), folder)
    from decoder.data.prepare import prepare

    return prepare("synthetic:small", None, None, folder)


if __name__ == "__main__":
    sys.exit(main())
