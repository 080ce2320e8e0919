"""Times the pack of the demonstration, and three other ways to train the same runs.

    OMP_NUM_THREADS=1 python benchmarks/speed.py [--official PATH/TO/model_training] [--ray]

The ways alternate, with one thread each, on the same recordings, sizes, steps and evaluations:
  (a) one run after the other with plain `nn.GRU` and `torch.optim`,
  (b) one run after the other with the official T15 trainer,
  (c) one Ray function trainable per run, and one Ray Tune trial per pack (two workers each).
"""

import argparse
import contextlib
import io
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from decoder.config import DecoderConfig
from decoder.data.alignment import output_lengths
from decoder.data.prepare import prepare
from decoder.data.store import Dataset, open_dataset
from decoder.data.trials import Trials
from decoder.metrics import MetricSums
from decoder.pack import Pack, Run
from decoder.schedules import learning_rates
from decoder.smoothing import gaussian_taps
from decoder.train import train
from orchestrator.spec.arms import make_arms
from orchestrator.spec.load import load_spec

ROOT = Path(__file__).parent.parent


def demo_pack(n_steps: int, eval_every: int) -> Pack:
    """The factorial arms of blank_collapse.yaml with a smaller budget."""
    from decoder.config import override, resolve

    loaded = load_spec(ROOT / "ablations" / "blank_collapse.yaml")
    changes = {"train.n_steps": n_steps, "train.eval_every_steps": eval_every}
    runs = tuple(
        Run(arm.arm_id, resolve(override(arm.config, changes, "benchmark")))
        for arm in make_arms(loaded.spec, loaded.base)
        if arm.in_design
    )
    return Pack("speed", 1, runs)


class PlainDecoder(nn.Module):
    """A plain implementation without packs: nn.GRU, einsum day layer, unfold."""

    def __init__(self, config: DecoderConfig, n_days: int, n_features: int) -> None:
        super().__init__()
        model = config.model
        self.size, self.stride = model.patch_size, model.patch_stride
        self.day_weights = nn.ParameterList(
            [nn.Parameter(torch.eye(n_features)) for _ in range(n_days)]
        )
        self.day_biases = nn.ParameterList(
            [nn.Parameter(torch.zeros(1, n_features)) for _ in range(n_days)]
        )
        self.dropout = nn.Dropout(model.input_dropout)
        self.gru = nn.GRU(
            n_features * model.patch_size,
            model.n_units,
            model.n_layers,
            batch_first=True,
            dropout=model.rnn_dropout,
        )
        self.out = nn.Linear(model.n_units, 41)
        self.h0 = nn.Parameter(torch.zeros(1, 1, model.n_units))

    def forward(self, x: Tensor, day: Tensor) -> Tensor:
        weights = torch.stack([self.day_weights[int(d)] for d in day])
        biases = torch.stack([self.day_biases[int(d)] for d in day])
        x = self.dropout(nn.functional.softsign(torch.einsum("btd,bdk->btk", x, weights) + biases))
        x = x.unfold(1, self.size, self.stride).transpose(2, 3).flatten(2)
        h0 = self.h0.expand(self.gru.num_layers, x.shape[0], -1).contiguous()
        return self.out(self.gru(x, h0)[0])  # type: ignore[no-any-return]


def train_plainly(config: DecoderConfig, dataset: Dataset, seed: int) -> float:
    """Train one run with the plain implementation. → its last PER."""
    torch.manual_seed(seed)
    model = PlainDecoder(config, len(dataset.sessions), dataset.n_features)
    decayed = [p for n, p in model.named_parameters() if "bias" not in n and "day" not in n]
    rest = [p for n, p in model.named_parameters() if "bias" in n or "day" in n]
    groups = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups, lr=1.0, eps=config.optim.epsilon, weight_decay=config.optim.weight_decay, fused=True
    )
    taps = torch.tensor(gaussian_taps(2.0, 100)).repeat(dataset.n_features, 1, 1)
    mean = config.loss.ctc_reduction == "mean"

    def smoothed(x: Tensor) -> Tensor:
        y = nn.functional.conv1d(x.transpose(1, 2), taps, padding="same", groups=x.shape[2])
        return y.transpose(1, 2)

    def losses(logits: Tensor, batch: Any, lengths: Tensor) -> Tensor:
        log_probs = logits.log_softmax(2).transpose(0, 1)
        reduction = "mean" if mean else "none"
        return nn.functional.ctc_loss(
            log_probs, batch.labels, lengths, batch.n_labels, reduction=reduction
        ).mean()

    trials = Trials.select(dataset, config)
    per = math.nan
    for step in range(config.train.n_steps):
        model.train()
        batch = trials.draw(seed, step)
        x = batch.features + config.augment.white_noise_std * torch.randn_like(batch.features)
        x = x + config.augment.constant_offset_std * torch.randn(x.shape[0], 1, x.shape[2])
        cut = int(torch.randint(3, ()))
        logits = model(smoothed(x[:, cut:]), batch.day)
        loss = losses(logits, batch, output_lengths(batch.n_bins - cut, config.model))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.grad_clip or math.inf)
        for group in optimizer.param_groups:
            group["lr"] = learning_rates(config.optim, step)["weight"]
        optimizer.step()
        if (step + 1) % config.train.eval_every_steps == 0:
            model.eval()
            sums = MetricSums.zeros(1, torch.device("cpu"))
            with torch.no_grad():
                for batch in trials.validation_batches():
                    logits = model(smoothed(batch.features), batch.day).transpose(0, 1)[None]
                    lengths = output_lengths(batch.n_bins, config.model)
                    sums.add(logits, batch.labels, lengths, batch.n_labels, False, batch.index)
            per = sums.rows()[0]["per"]
    return per


def train_officially(
    official: Any, config: DecoderConfig, sessions: tuple[str, ...], folder: Path
) -> None:
    """Train one run with the official trainer, which reads the same HDF5 files."""
    from official import official_args, official_transforms

    with tempfile.TemporaryDirectory() as out:
        model = config.model
        args = official_args(config) | {
            "model": {
                "n_input_features": 64,
                "n_units": model.n_units,
                "rnn_dropout": model.rnn_dropout,
                "rnn_trainable": True,
                "n_layers": model.n_layers,
                "patch_size": model.patch_size,
                "patch_stride": model.patch_stride,
                "input_network": {
                    "input_layer_dropout": model.input_dropout,
                    "input_trainable": True,
                },
            },
            "mode": "train",
            "use_amp": False,
            "output_dir": f"{out}/run",
            "checkpoint_dir": f"{out}/run/checkpoint",
            "init_from_checkpoint": False,
            "save_best_checkpoint": False,
            "save_all_val_steps": False,
            "save_final_model": False,
            "save_val_metrics": False,
            "early_stopping": False,
            "early_stopping_val_steps": 20,
            "num_training_batches": config.train.n_steps,
            "lr_scheduler_type": "cosine",
            "seed": 1,
            "grad_norm_clip_value": config.optim.grad_clip,
            "batches_per_train_log": config.train.eval_every_steps,
            "batches_per_val_step": config.train.eval_every_steps,
            "log_individual_day_val_PER": False,
            "log_val_skip_logs": False,
            "save_val_logits": False,
            "save_val_data": False,
            "dataset": {
                "data_transforms": official_transforms(config),
                "batch_size": config.data.batch_size,
                "n_classes": 41,
                "days_per_batch": config.data.days_per_batch,
                "seed": 1,
                "num_dataloader_workers": 0,
                "loader_shuffle": False,
                "dataset_dir": str(folder),
                "sessions": list(sessions),
                "dataset_probability_val": [1] * len(sessions),
            },
        }
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            official.trainer.BrainToTextDecoder_Trainer(args).train()


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare_in_turn(ways: dict[str, tuple[int, Callable[[], Any]]], n_rounds: int) -> None:
    """Time the ways in turn; print median seconds per run and the speed-up of the first way."""
    per_run: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(n_rounds):
        for name, (n_runs, work) in ways.items():
            per_run[name].append(seconds(work) / n_runs)
    first = next(iter(ways))
    for name, times in per_run.items():
        ratios = [b / a for a, b in zip(per_run[first], times, strict=True)]
        print(
            f"  {name:58s} {statistics.median(times):8.3f} s a run, "
            f"{statistics.median(ratios):5.2f}x (rounds {min(ratios):.2f} to {max(ratios):.2f})"
        )


def function_trainable_a_run(pack: Pack, dataset_dir: Path, n_workers: int) -> None:
    """Each run as its own Ray function trainable, on a cluster that is already running."""
    from ray import tune

    def trainable(settings: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        run = next(r for r in pack.runs if r.run_id == settings["run_id"])
        events = list(train(Pack(run.run_id, pack.seed, (run,)), open_dataset(dataset_dir)))
        tune.report({"per": events[-1].finished[0].history[-1]["per"]})

    with tempfile.TemporaryDirectory() as storage:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"run_id": tune.grid_search([run.run_id for run in pack.runs])},
            tune_config=tune.TuneConfig(max_concurrent_trials=n_workers),
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()


def packs_on_ray(pack: Pack, dataset_dir: Path) -> None:
    """The backend of `python -m orchestrator run`, with two packs for two workers."""
    from orchestrator.execute.backends import Execution
    from orchestrator.execute.backends.ray_tune import ray_session

    half = len(pack.runs) // 2
    packs = [
        Pack("first", pack.seed, pack.runs[:half]),
        Pack("second", pack.seed, pack.runs[half:]),
    ]
    with tempfile.TemporaryDirectory() as checkpoints:
        execution = Execution(dataset_dir, Path(checkpoints), n_workers=2, device="cpu")
        with ray_session(execution) as train:
            train(packs, execution, lambda event: None)


def functions_on_ray(pack: Pack, dataset_dir: Path) -> None:
    """One function trainable per run, with a local cluster started by plain ``ray.init``."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    function_trainable_a_run(pack, dataset_dir, 2)
    ray.shutdown()


def compare_on_ray(options: argparse.Namespace, dataset_dir: Path) -> None:
    """(c): each way in its own process, including imports and the start of the cluster."""

    def way(name: str) -> Callable[[], Any]:
        command = [sys.executable, __file__, "--one-way", name, "--dataset", str(dataset_dir)]
        command += ["--ray-steps", str(options.ray_steps), "--eval-every", str(options.eval_every)]
        return lambda: subprocess.run(command, check=True, capture_output=True)

    n_runs = len(demo_pack(options.ray_steps, options.eval_every).runs)
    compare_in_turn(
        {
            "one Ray Tune trial a pack (two packs, two workers)": (n_runs, way("packs")),
            "(c) one Ray function trainable a run (two workers)": (n_runs, way("functions")),
        },
        max(1, options.rounds // 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--eval-every", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ray-steps", type=int, default=400)
    parser.add_argument("--one-way", choices=["packs", "functions"], help=argparse.SUPPRESS)
    parser.add_argument("--dataset", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one_way:
        on_ray = packs_on_ray if options.one_way == "packs" else functions_on_ray
        on_ray(demo_pack(options.ray_steps, options.eval_every), options.dataset)
        return
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare("synthetic:small", None, None, Path(folder))
        [recordings] = [p.parent for p in Path(folder).rglob(dataset.sessions[0])]
        pack = demo_pack(options.steps, options.eval_every)
        run = pack.runs[0]
        n_runs = len(pack.runs)
        print(
            f"{n_runs} runs, {options.steps} steps, evaluation every {options.eval_every}; "
            f"torch {torch.__version__}, one thread, {options.rounds} rounds in turn"
        )
        ways: dict[str, tuple[int, Callable[[], Any]]] = {
            f"the pack, R = {n_runs}": (n_runs, lambda: list(train(pack, dataset))),
            "one run alone, R = 1": (
                1,
                lambda: list(train(Pack("alone", 1, (run,)), dataset)),
            ),
            "(a) one after the other, nn.GRU and torch.optim": (
                2,
                lambda: [train_plainly(r.config, dataset, 1) for r in pack.runs[:2]],
            ),
        }
        if options.official:
            from official import load_official

            official = load_official(options.official)
            ways["(b) the official trainer, one after the other"] = (
                2,
                lambda: [
                    train_officially(official, r.config, dataset.sessions, recordings)
                    for r in pack.runs[:2]
                ],
            )
        compare_in_turn(ways, options.rounds)
        if options.ray:
            print(f"on Ray, {options.ray_steps} steps, start of the cluster included in both:")
            compare_on_ray(options, dataset.path)


if __name__ == "__main__":
    main()
