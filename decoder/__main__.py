"""``python -m decoder``: evaluate weights on recordings, export them to official layouts."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoder.errors import ConfigError, UserError

if TYPE_CHECKING:
    from decoder.scoring import Score
    from decoder.weights import Weights


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what a user can cause is one line on stderr and an exit code.

    Args:
        arguments: as typed; None takes those of this process.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        command = _export if options.command == "export" else _evaluate
        command(options)
    except UserError as error:
        for problem in error.problems:
            print(" ".join(problem.split()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m decoder", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    evaluate = commands.add_parser(
        "evaluate",
        help="PER in all and per session",
        description="Greedy PER of weights on recordings, in all and per session.",
    )
    export = commands.add_parser(
        "export",
        help="write weights as the official trainers do",
        description="Write weights as the official T15 or T12 trainer does.",
    )
    for command in (evaluate, export):
        command.add_argument(
            "--checkpoint",
            type=Path,
            required=True,
            metavar="FILE",
            help="T15 best_checkpoint, T12 modelWeights, or weights.safetensors of a run",
        )
        command.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="T15 args.yaml, T12 args, or ours; not needed with ours",
        )
    evaluate.add_argument(
        "--data", metavar="PATH", help="folder in the T15 or T12 layout (default: the config's)"
    )
    evaluate.add_argument("--split", choices=("val", "train"), default="val")
    evaluate.add_argument("--sessions", metavar="A,B,...", help="score these alone")
    evaluate.add_argument(
        "--beam-width", type=_positive, metavar="N", help="a prefix beam search beside greedy"
    )
    evaluate.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    evaluate.add_argument("--json", action="store_true", help="print JSON and nothing else")
    export.add_argument("--to", choices=("t15", "t12"), required=True, help="whose layout")
    export.add_argument("--output", type=Path, required=True, metavar="FILE")
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    from decoder.api import evaluate_weights
    from decoder.weights import read_weights

    weights = read_weights(options.checkpoint)
    score = evaluate_weights(
        weights,
        options.data,
        config_file=options.config,
        split=options.split,
        sessions=options.sessions.split(",") if options.sessions else None,
        beam_width=options.beam_width,
        device=options.device,
    )
    document = _document(score, options.split, weights)
    print(json.dumps(document, indent=1) if options.json else _text(document))


def _export(options: argparse.Namespace) -> None:
    from decoder.api import configuration_of
    from decoder.official_weights import save_official
    from decoder.weights import build_decoder, read_weights

    weights = read_weights(options.checkpoint)
    config = configuration_of(weights, options.config).config
    if options.output.exists():
        raise ConfigError(
            f"--output: {options.output} exists already; choose another name or remove it"
        )
    known = {"val_PER": ("val_PER", "per"), "val_loss": ("val_loss",)}
    facts = {
        name: float(weights.facts[key])
        for name, keys in known.items()
        for key in keys
        if key in weights.facts
    }
    model = build_decoder(weights, config)
    save_official(options.output, model, 0, config, options.to, facts)


def _document(found: "Score", split: str, weights: "Weights") -> dict[str, Any]:
    """The score as plain JSON values; None where there is no rate."""

    def row(one: Any) -> dict[str, Any]:
        return {**one._asdict(), "per": None if math.isnan(one.per) else one.per}

    return {
        "checkpoint": str(weights.path),
        "layout": weights.layout,
        "split": split,
        "all": row(found.total),
        "sessions": [row(one) for one in found.sessions],
        "n_too_short": found.n_too_short,
        "n_not_alignable": found.n_not_alignable,
        "n_empty": found.n_empty,
        "sessions_without_recordings": list(found.missing),
        "recordings_without_day_layer": list(found.unlisted),
        "beam": found.beam,
        "said_by_checkpoint": {
            name: weights.facts[name] for name in ("val_PER", "per") if name in weights.facts
        },
    }


def _text(document: dict[str, Any]) -> str:
    """The score as a table of plain text."""
    rows = [*document["sessions"], document["all"]]
    width = max(len(row["session"]) for row in rows)
    lines = [f"{'session':{width}}  trials   edits  phonemes        PER"]
    for row in rows:
        per = "      –  " if row["per"] is None else f"{100 * row['per']:7.2f} %"
        lines.append(
            f"{row['session']:{width}}  {row['n_trials']:6,d}  {row['n_edits']:6,d}  "
            f"{row['n_reference']:8,d}  {per}"
        )
    beam = document["beam"]
    if beam:
        lines.append(
            f"prefix beam search of width {beam['beam_width']}: PER {100 * beam['per']:.2f} % "
            "(the table is greedy)"
        )
    remarks = {
        "n_too_short": "trials have less than one patch: nothing is decoded, all of it is missed",
        "n_not_alignable": "trials have targets longer than the output; they are counted",
        "n_empty": "trials have no target; they are left out",
    }
    lines += [f"{document[key]} {text}" for key, text in remarks.items() if document[key]]
    for key, text in (
        ("sessions_without_recordings", "no recordings of"),
        ("recordings_without_day_layer", "no day layer for, and so not scored,"),
    ):
        if document[key]:
            lines.append(f"{text} {len(document[key])} sessions: {', '.join(document[key])}")
    said = document["said_by_checkpoint"]
    if said:
        per = next(iter(said.values()))
        lines.append(f"PER when the weights were saved: {100 * per:.2f} %")
    return "\n".join(lines)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
