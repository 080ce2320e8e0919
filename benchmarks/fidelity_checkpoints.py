"""Evaluates checkpoints of the official code with that code and with ``python -m decoder``.

    OMP_NUM_THREADS=1 python benchmarks/fidelity_checkpoints.py --official PATH/TO/model_training \
        --official-t12 PATH/TO/neural_seq_decoder/src

The official T15 trainer trains on synthetic recordings, validates, and saves its best checkpoint.
Our code evaluates and exports that file, and the trainer loads and validates the export. The T12
trainer needs a GPU and cannot be imported in parts. So its model is imported, its training step and
validation are reimplemented here, and its weights take the same path.

Then both files start runs of ours (``train.start_from``), alone and in a pack of four that differ
in learning rate, frozen parts and start: the weights at step 0 must equal the file's to the bit,
and the runs of the pack those that train alone.

The exit code is non-zero if a PER differs, in total or in a session, or a start does.
"""

import argparse
import contextlib
import copy
import importlib
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from official import Official, load_official
from torch import Tensor

from decoder.__main__ import main as decoder_main
from decoder.config import DecoderConfig, override, resolve
from decoder.ctc import edit_distance
from decoder.data.batches import Batch, collate
from decoder.data.prepare import prepare
from decoder.data.store import Dataset
from decoder.data.synthetic import RECIPES, make_synthetic
from decoder.importing import import_file
from decoder.pack import HistoryRow, Pack, Progress, Run
from decoder.start import start_runs, with_start_hash
from decoder.state import PackState
from decoder.train import train
from decoder.weights import read_weights

Edits = dict[str, tuple[int, int]]  # session → edits, reference phonemes

T12_ARGS: dict[str, Any] = {
    "batchSize": 16,
    "lrStart": 0.02,
    "lrEnd": 0.02,
    "nUnits": 48,
    "nBatch": 60,
    "nLayers": 2,
    "seed": 0,
    "nClasses": 40,
    "nInputFeatures": 256,
    "dropout": 0.4,
    "whiteNoiseSD": 0.8,
    "constantOffsetSD": 0.2,
    "gaussianSmoothWidth": 2.0,
    "strideLen": 4,
    "kernelLen": 32,
    "bidirectional": True,
    "l2_decay": 1e-5,
}


def t15_args(arguments: Path, recordings: Path, folder: Path, n_steps: int) -> dict[str, Any]:
    """The official ``rnn_args.yaml`` at the size of the synthetic recordings."""
    args: dict[str, Any] = yaml.safe_load(arguments.read_text())
    sessions = sorted(path.name for path in recordings.iterdir() if path.is_dir())
    args["model"] |= {"n_input_features": 64, "n_units": 64, "n_layers": 2}
    args |= {
        "mode": "train",
        "output_dir": str(folder / "output"),
        "checkpoint_dir": str(folder / "output" / "checkpoint"),
        "num_training_batches": n_steps,
        "lr_warmup_steps": 10,
        "lr_warmup_steps_day": 10,
        "batches_per_train_log": 1000,
        "batches_per_val_step": n_steps,
    }
    args["dataset"] |= {
        "batch_size": 16,
        "num_dataloader_workers": 0,
        "dataset_dir": str(recordings),
        "sessions": sessions,
        # The first day is not validated, like four days in the official file.
        "dataset_probability_val": [0] + [1] * (len(sessions) - 1),
    }
    return args


class _Omega:
    """The part of omegaconf that the trainer uses: it writes the arguments beside a checkpoint."""

    @staticmethod
    def save(config: dict[str, Any], f: Any) -> None:
        yaml.safe_dump(config, f)


def validate_officially(trainer: Any) -> Edits:
    """The counts of the official validation, by session."""
    metrics = trainer.validation(trainer.val_loader)
    sessions = trainer.args["dataset"]["sessions"]
    return {
        sessions[day]: (int(one["total_edit_distance"]), int(one["total_seq_length"]))
        for day, one in metrics["day_PERs"].items()
    }


def evaluate_here(*arguments: str | Path) -> tuple[Edits, dict[str, Any]]:
    """The counts of ``python -m decoder evaluate``, by session."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = decoder_main(["evaluate", "--json", "--device", "cpu", *map(str, arguments)])
    assert code == 0
    document = json.loads(out.getvalue())
    edits = {one["session"]: (one["n_edits"], one["n_reference"]) for one in document["sessions"]}
    return edits, document


def compare_t15(official: Official, arguments: Path, folder: Path, n_steps: int) -> list[Any]:
    """Train, validate and save officially; evaluate and export here; validate officially again."""
    recordings = folder / "t15"
    make_synthetic(RECIPES["small"], recordings)
    args = t15_args(arguments, recordings, folder, n_steps)
    sys.modules["rnn_trainer"].OmegaConf = _Omega  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(sys.stderr):
        trainer = official.trainer.BrainToTextDecoder_Trainer(copy.deepcopy(args))
        trainer.train()
    checkpoint = folder / "output" / "checkpoint" / "best_checkpoint"
    config = checkpoint.with_name("args.yaml")
    trainer.load_model_checkpoint(str(checkpoint))
    theirs = validate_officially(trainer)
    ours, document = evaluate_here("--checkpoint", checkpoint, "--config", config)
    exported = folder / "exported"
    arguments_of = ["--checkpoint", str(checkpoint), "--config", str(config), "--to", "t15"]
    assert decoder_main(["export", *arguments_of, "--output", str(exported)]) == 0
    state = torch.load(exported, weights_only=True)["model_state_dict"]
    for parameter in trainer.model.parameters():
        parameter.data.zero_()
    trainer.model.load_state_dict(state)
    return [
        ("T15", document, theirs, ours),
        ("T15, exported", document, validate_officially(trainer), ours),
    ]


def t12_batches(dataset: Dataset) -> list[Batch]:
    """The validation batches of the T12 loader: in order, across days."""
    size = T12_ARGS["batchSize"]
    indices = range(dataset.val.n_trials)
    return [collate(dataset.val, indices[i : i + size]) for i in range(0, len(indices), size)]


def t12_lengths(n_bins: Tensor, model: Any) -> Tensor:
    return ((n_bins - model.kernelLen) / model.strideLen).to(torch.int32)


def train_t12(model: Any, dataset: Dataset) -> None:
    """Train as the T12 trainer does."""
    source = torch.Generator().manual_seed(T12_ARGS["seed"])
    optimizer = torch.optim.Adam(
        model.parameters(), lr=T12_ARGS["lrStart"], eps=0.1, weight_decay=T12_ARGS["l2_decay"]
    )
    ctc = torch.nn.CTCLoss(blank=0, reduction="mean", zero_infinity=True)
    model.train()
    for _ in range(T12_ARGS["nBatch"]):
        order = torch.randperm(dataset.train.n_trials, generator=source)
        batch = collate(dataset.train, order[: T12_ARGS["batchSize"]])
        noise = torch.randn(batch.features.shape, generator=source)
        log_probs = model(batch.features + 0.8 * noise, batch.day).log_softmax(2)
        lengths = t12_lengths(batch.n_bins, model)
        loss = ctc(log_probs.permute(1, 0, 2), batch.labels, lengths, batch.n_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


@torch.no_grad()
def validate_t12(model: Any, dataset: Dataset) -> Edits:
    """Validate as the T12 trainer does, with counts by session."""
    edits: Edits = {}
    for batch in t12_batches(dataset):
        logits = model(batch.features, batch.day)
        for row, length in enumerate(t12_lengths(batch.n_bins, model).tolist()):
            merged = torch.unique_consecutive(logits[row, :length].argmax(-1)).tolist()
            target = batch.labels[row, : batch.n_labels[row]].tolist()
            session = dataset.sessions[int(batch.day[row])]
            n_edits, n_reference = edits.get(session, (0, 0))
            n_edits += edit_distance([c for c in merged if c != 0], target)
            edits[session] = (n_edits, n_reference + len(target))
    return edits


def compare_t12(source: Path, folder: Path) -> list[Any]:
    """Train and validate the official T12 model; evaluate and export its weights here."""
    sys.path.insert(0, str(source))
    official = importlib.import_module("neural_decoder.model")
    recordings = folder / "t12"
    make_synthetic(RECIPES["t12_small"], recordings)
    dataset = prepare(str(recordings), None, None, folder / "stores")

    def make() -> Any:
        return official.GRUDecoder(
            neural_dim=256,
            n_classes=40,
            hidden_dim=T12_ARGS["nUnits"],
            layer_dim=T12_ARGS["nLayers"],
            nDays=len(dataset.sessions),
            dropout=T12_ARGS["dropout"],
            device="cpu",
            strideLen=T12_ARGS["strideLen"],
            kernelLen=T12_ARGS["kernelLen"],
            gaussianSmoothWidth=T12_ARGS["gaussianSmoothWidth"],
            bidirectional=True,
        ).eval()

    torch.manual_seed(0)
    model = make()
    train_t12(model, dataset)
    theirs = validate_t12(model, dataset)
    checkpoint, config, exported = (
        folder / name for name in ("modelWeights", "args.json", "exported_t12")
    )
    torch.save(model.state_dict(), checkpoint)
    config.write_text(json.dumps(T12_ARGS))
    given = ["--checkpoint", str(checkpoint), "--config", str(config)]
    ours, document = evaluate_here(*given, "--data", recordings)
    assert decoder_main(["export", *given, "--to", "t12", "--output", str(exported)]) == 0
    again = make()
    again.load_state_dict(torch.load(exported, weights_only=True))
    return [
        ("T12", document, theirs, ours),
        ("T12, exported", document, validate_t12(again, dataset), ours),
    ]


class Fit(NamedTuple):
    """How runs of ours start from a file of an official trainer.

    Attributes:
        what: the file.
        n_parameters: tensors of a run, day layers included.
        n_differing: those that differ from the file at step 0, in a pack or alone.
        n_moved: frozen tensors that differ from the file after training.
        largest_gap: between a run in the pack and alone, of its losses, relative.
        losses: run → validation loss after the first and the last evaluation.
    """

    what: str
    n_parameters: int
    n_differing: int
    n_moved: int
    largest_gap: float
    losses: dict[str, tuple[float, float]]

    @property
    def is_exact(self) -> bool:
        return not (self.n_differing or self.n_moved) and self.largest_gap < 1e-4


def fine_tune(
    what: str,
    checkpoint: Path,
    config: DecoderConfig,
    dataset: Dataset,
    expected: dict[str, Tensor],
) -> Fit:
    """Start a pack from a file, and each of its runs alone, and compare.

    Args:
        config: as imported from the trainer's arguments, with ``train.start_from``.
        expected: parameter of ours → value in the file, as the official code holds it.
    """
    scratch = {"train.start_from": None, "train.start_sessions": None}
    arms: dict[str, dict[str, Any]] = {
        "tuned": {},
        "slower": {"optim.lr_max": config.optim.lr_max / 4, "optim.lr_min": 0.0},
        "day layers": {"optim.frozen": ["layers", "head"]},
        "scratch": scratch,
    }
    runs = []
    for name, changes in arms.items():
        own = with_start_hash(resolve(override(config, changes, name)))
        runs.append(Run(name.replace(" ", "-"), own))
    n_differing = 0
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder)
        packed = results_of(train(Pack("pack", 1, tuple(runs)), dataset, weights_dir=weights))
        n_moved = count_frozen(weights / "day-layers", expected)
        gaps, losses = [0.0], {}
        for pack in (tuple(runs), *((run,) for run in runs)):
            state = PackState.start(Pack("one", 1, pack), dataset, torch.device("cpu"))
            start_runs(state.model, state.runs, dataset)
            for name, parameter in state.model.named_parameters():
                for row, run in enumerate(pack):
                    starts = run.config.train.start_from is not None
                    n_differing += starts and not torch.equal(parameter[row], expected[name])
        for run in runs:
            alone = results_of(train(Pack("one", 1, (run,)), dataset))[run.run_id]
            together = packed[run.run_id]
            gaps += [
                abs(mine[column] - theirs[column]) / abs(theirs[column])
                for mine, theirs in zip(together, alone, strict=True)
                for column in ("val_loss", "train_loss")
            ]
            losses[run.run_id] = together[0]["val_loss"], together[-1]["val_loss"]
    return Fit(what, len(expected), n_differing, n_moved, max(gaps), losses)


def results_of(events: Iterable[Progress]) -> dict[str, Sequence[HistoryRow]]:
    """Run → its history."""
    return {run.run_id: run.history for event in events for run in event.finished}


def count_frozen(folder: Path, expected: dict[str, Tensor]) -> int:
    """The tensors outside the day layers that training changed."""
    after = read_weights(folder).tensors
    kept = [name for name in after if not name.startswith("day_layer.")]
    return sum(not torch.equal(after[name], expected[name]) for name in kept)


def of_official_t15(model: Any) -> dict[str, Tensor]:
    """The parameters of the official T15 decoder under our names, written out by hand here."""
    state = {name: value.detach() for name, value in model.state_dict().items()}
    found = {"h0": state["h0"][0, 0], "head.weight": state["out.weight"]}
    found["head.bias"] = state["out.bias"]
    for name, value in state.items():
        if name.startswith("gru."):
            kind, _, layer = name.removeprefix("gru.").rpartition("_l")
            found[f"layers.{layer}.{kind}"] = value
        elif name.startswith("day_"):
            kind, _, day = name.removeprefix("day_").partition(".")
            found[f"day_layer.{kind}.{day}"] = value
    return found


def tune_t15(official: Official, folder: Path) -> Fit:
    """Runs of ours that start from the checkpoint that `compare_t15` left."""
    checkpoint = folder / "output" / "checkpoint" / "best_checkpoint"
    args = yaml.safe_load(checkpoint.with_name("args.yaml").read_text())
    again = folder / "again"
    trainer_args = args | {"output_dir": str(again), "checkpoint_dir": str(again / "checkpoint")}
    with contextlib.redirect_stdout(sys.stderr):
        trainer = official.trainer.BrainToTextDecoder_Trainer(copy.deepcopy(trainer_args))
        trainer.load_model_checkpoint(str(checkpoint))
    config = override(
        import_file(checkpoint.with_name("args.yaml")).config,
        {
            "train.start_from": str(checkpoint),
            "train.n_steps": 20,
            "train.eval_every_steps": 10,
            "train.precision": "float32",
            "train.keep_weights": "final",
        },
        "T15",
    )
    dataset = prepare(str(folder / "t15"), None, None, folder / "stores")
    return fine_tune("T15", checkpoint, config, dataset, of_official_t15(trainer.model))


def tune_t12(folder: Path) -> Fit:
    """Runs of ours that start from the weights that `compare_t12` left."""
    checkpoint = folder / "modelWeights"
    dataset = prepare(str(folder / "t12"), None, None, folder / "stores")
    config = override(
        import_file(folder / "args.json").config,
        {
            "train.start_from": str(checkpoint),
            "train.start_sessions": list(dataset.sessions),
            "train.n_steps": 20,
            "train.eval_every_steps": 10,
            "train.keep_weights": "final",
        },
        "T12",
    )
    state = torch.load(checkpoint, weights_only=True)
    found = {f"head.{kind}": state[f"fc_decoder_out.{kind}"] for kind in ("weight", "bias")}
    for day, (weights, biases) in enumerate(
        zip(state["dayWeights"], state["dayBias"], strict=True)
    ):
        found |= {f"day_layer.weights.{day}": weights, f"day_layer.biases.{day}": biases}
    for name, value in state.items():
        if name.startswith("gru_decoder."):
            kind, _, layer = name.removeprefix("gru_decoder.").rpartition("_l")
            number, _, reverse = layer.partition("_")
            if (
                kind == "weight_ih" and number == "0"
            ):  # features by bins there, bins by features here
                value = value.unflatten(1, (256, -1)).transpose(1, 2).flatten(1)
            found[f"layers.{number}.{kind}{reverse and '_reverse'}"] = value
    return fine_tune("T12", checkpoint, config, dataset, found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="the T15 model_training folder")
    parser.add_argument(
        "--official-t12", type=Path, help="the folder of the package neural_decoder"
    )
    parser.add_argument("--steps", type=int, default=150, help="of the T15 trainer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # of the official code
    rows, fits = [], []
    with tempfile.TemporaryDirectory() as name:
        if options.official:
            official = load_official(options.official.resolve())
            arguments = options.official / "rnn_args.yaml"
            rows += compare_t15(official, arguments, Path(name), options.steps)
            fits.append(tune_t15(official, Path(name)))
        if options.official_t12:
            rows += compare_t12(options.official_t12.resolve(), Path(name))
            fits.append(tune_t12(Path(name)))
    failed = 0
    for what, document, theirs, ours in rows:
        failed += theirs != ours
        n_edits, n_reference = (sum(counts) for counts in zip(*theirs.values(), strict=True))
        print(
            f"{what:14s} official {n_edits} / {n_reference} = {n_edits / n_reference:.4f}, ours "
            f"{document['all']['n_edits']} / {document['all']['n_reference']} = "
            f"{document['all']['per']:.4f}, {len(theirs)} sessions each alike: {theirs == ours}"
        )
    for fit in fits:
        failed += not fit.is_exact
        print(
            f"{fit.what} as a start: {fit.n_differing} of {fit.n_parameters} tensors differ at "
            f"step 0, {fit.n_moved} frozen ones after training; pack and alone differ by at most "
            f"{fit.largest_gap:.1e}"
        )
        for run, (first, last) in fit.losses.items():
            print(
                f"    {run:10s} validation loss {first:8.3f} after 10 steps, {last:8.3f} after 20"
            )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
