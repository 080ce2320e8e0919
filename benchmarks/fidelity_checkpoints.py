"""Evaluates checkpoints of the official code with that code and with ``python -m decoder``.

    OMP_NUM_THREADS=1 python benchmarks/fidelity_checkpoints.py --official PATH/TO/model_training \
        --official-t12 PATH/TO/neural_seq_decoder/src

The official T15 trainer trains on synthetic recordings, validates, and saves its best checkpoint.
Our code evaluates and exports that file, and the trainer loads and validates the export. The T12
trainer needs a GPU and cannot be imported in parts. So its model is imported, its training step and
validation are reimplemented here, and its weights take the same path.

The exit code is non-zero if a PER differs, in total or in a session.
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
from pathlib import Path
from typing import Any

import torch
import yaml
from official import Official, load_official
from torch import Tensor

from decoder.__main__ import main as decoder_main
from decoder.ctc import edit_distance
from decoder.data.batches import Batch, collate
from decoder.data.prepare import prepare
from decoder.data.store import Dataset
from decoder.data.synthetic import RECIPES, make_synthetic

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
    sessions = sorted(path.name for path in recordings.iterdir())
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
    rows = []
    with tempfile.TemporaryDirectory() as name:
        if options.official:
            official = load_official(options.official.resolve())
            arguments = options.official / "rnn_args.yaml"
            rows += compare_t15(official, arguments, Path(name), options.steps)
        if options.official_t12:
            rows += compare_t12(options.official_t12.resolve(), Path(name))
    failed = 0
    for what, document, theirs, ours in rows:
        failed += theirs != ours
        n_edits, n_reference = (sum(counts) for counts in zip(*theirs.values(), strict=True))
        print(
            f"{what:14s} official {n_edits} / {n_reference} = {n_edits / n_reference:.4f}, ours "
            f"{document['all']['n_edits']} / {document['all']['n_reference']} = "
            f"{document['all']['per']:.4f}, {len(theirs)} sessions each alike: {theirs == ours}"
        )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
