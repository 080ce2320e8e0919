"""``python -m decoder predict``: predictions for trials without labels, as a competition's CSV."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decoder.errors import ConfigError


def add_predict(commands: Any) -> None:
    """Add the command to the others."""
    command = commands.add_parser(
        "predict",
        help="write what weights decode of trials without labels, as CSV",
        description="Decode the split without labels (T15: data_test.hdf5; T12: "
        "competitionHoldOut) and write the phonemes or, with --words, the sentence of each trial "
        "as CSV with the columns id and text, ordered by session and then as in the files.",
    )
    add_weights(command)
    add_data(command)
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="a CSV that does not exist yet"
    )
    command.add_argument(
        "--logits",
        type=Path,
        metavar="FILE.npz",
        help="also write the logits of each trial there, for a decoder of your own",
    )
    command.add_argument(
        "--words",
        action="store_true",
        help="write sentences, decoded as evaluation.words of the configuration says; weights to "
        "be tuned are those that the run chose, from the record beside its weights",
    )
    command.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="change a field of evaluation.words, for example evaluation.words.decoder=beam; may "
        "be repeated",
    )
    command.add_argument(
        "--split", choices=("test", "val"), default="test", help="trials (default: test)"
    )
    command.add_argument("--device", help="cpu, cuda, ... (default: the GPU if there is one)")
    command.add_argument("--json", action="store_true", help="print JSON instead of a line")


def add_weights(command: argparse.ArgumentParser) -> None:
    """Add the options that name weights and their configuration."""
    command.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="FILE",
        help="T15 best_checkpoint, T12 modelWeights, or the weights.safetensors of a run",
    )
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="T15 args.yaml, T12 args, or our YAML; weights.safetensors does not need it",
    )


def add_data(command: argparse.ArgumentParser) -> None:
    """Add the option that names recordings."""
    command.add_argument(
        "--data",
        metavar="PATH",
        help="folder in the T15 or T12 layout (default: data.path of the configuration)",
    )


def predict(options: argparse.Namespace) -> None:
    """Predict as the options say, and print how many trials there are."""
    from decoder.api import predict_trials
    from decoder.atomic import write_atomically
    from decoder.document import print_document
    from decoder.logits import write_logits
    from decoder.predict import csv_of
    from decoder.weights import read_weights

    written = [options.output]
    if options.logits is not None:
        if options.logits.suffix != ".npz":
            raise ConfigError(f"--logits: must be named FILE.npz, but got {options.logits}")
        written += [options.logits, options.logits.with_suffix(".json")]
    for path in written:
        if path.exists():
            raise ConfigError(f"{path}: exists already; choose another name or remove it")
    words = _words(options.set, options.words)
    weights = read_weights(options.checkpoint)
    predictions = predict_trials(
        weights,
        options.data,
        config_file=options.config,
        split=options.split,
        device=options.device,
        words=words,
    )
    if options.logits is not None:
        facts = {"split": options.split, "checkpoint": str(weights.path)}
        write_logits(options.logits, [one.logits for one in predictions], facts)
    write_atomically(options.output, csv_of(predictions).encode())
    n_empty = sum(not one.text for one in predictions)
    document = {
        "output": str(options.output),
        "split": options.split,
        "n_trials": len(predictions),
        "n_empty": n_empty,
        "logits": str(options.logits) if options.logits is not None else None,
    }
    unit = "word" if options.words else "phoneme"
    line = f"{options.output}: {len(predictions):,} trials, {n_empty:,} of them without a {unit}"
    print_document(json.dumps(document, indent=1) if options.json else line)


def _words(changes: Sequence[str], asked: bool) -> dict[str, Any] | None:
    """The fields of ``evaluation.words`` that --set changes; None without --words."""
    from decoder.train_command import assignment
    from decoder.training_sections import WORDS_KEY

    fields = dict(assignment(text) for text in changes)
    other = [path for path in fields if not path.startswith(f"{WORDS_KEY}.")]
    if other:
        raise ConfigError(
            f"--set: {other[0]}: only fields of {WORDS_KEY} can be changed here, since the others "
            "belong to the weights"
        )
    if fields and not asked:
        raise ConfigError("--set: has no effect without --words; add --words, or leave it out")
    return {path.removeprefix(f"{WORDS_KEY}."): fields[path] for path in fields} if asked else None
