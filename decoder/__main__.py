"""``python -m decoder``: trains one run, evaluates, exports and applies weights, tries parts."""

import argparse
import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from decoder.cpus import limit_threads
from decoder.document import only_documents, print_document
from decoder.errors import ConfigError, UserError
from decoder.predict_command import add_data, add_predict, add_weights, predict
from decoder.remarks import take_remarks
from decoder.train_command import add_train, train, train_exported

if TYPE_CHECKING:
    from decoder.check_extension import Finding
    from decoder.scoring import Score
    from decoder.weights import Weights


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; print each problem a user can mend as one line on stderr.

    Args:
        arguments: the words of the command line; None takes those of this process.

    Returns:
        The exit code, see `decoder.errors`.
    """
    options = _parser().parse_args(arguments)
    try:
        with _orderly_end(), only_documents(getattr(options, "json", False)):
            limit_threads()
            _COMMANDS[options.command](options)
            for text in take_remarks():
                print(text, file=sys.stderr)
    except UserError as error:
        for problem in error.problems:
            print(" ".join(problem.split()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Let SIGTERM and SIGHUP, unless they are ignored, end the block as an exception does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    answered = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in answered:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in answered:
            signal.signal(number, signal.SIG_DFL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m decoder",
        description="Train one configuration and keep its weights, evaluate weights on "
        "recordings, predict trials without labels, export weights to the file format of an "
        "official trainer, or try a file of your own parts.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add_train(commands)
    evaluate = commands.add_parser(
        "evaluate",
        help="print the phoneme error rate of weights, in total and per session",
        description="Print the phoneme error rate (PER) of weights on recordings by greedy "
        "decoding, in total and per session.",
    )
    export = commands.add_parser(
        "export",
        help="write weights in the file format of an official trainer",
        description="Write weights in the file format of the official T15 or T12 trainer.",
    )
    add_weights(evaluate)
    add_weights(export)
    add_data(evaluate)
    evaluate.add_argument(
        "--split", choices=("val", "train"), default="val", help="trials to score (default: val)"
    )
    evaluate.add_argument("--sessions", metavar="A,B,...", help="score only these sessions")
    evaluate.add_argument(
        "--beam-width",
        type=_positive,
        metavar="N",
        help="also decode with a prefix beam search that keeps N prefixes",
    )
    evaluate.add_argument("--device", help="cpu, cuda, ... (default: the GPU if there is one)")
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of a table")
    export.add_argument(
        "--to", choices=("t15", "t12"), required=True, help="the trainer whose format to write"
    )
    export.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="a file that does not exist yet"
    )
    add_predict(commands)
    check = commands.add_parser(
        "check-extension",
        help="try files of your own parts as training uses them",
        description="Run files that register parts of your own, and train each part for a few "
        "steps on generated recordings: shapes, gradients, a pack against each run alone, "
        "repetition and resuming. Ends with 2 if a check fails.",
    )
    check.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="Python files, as a configuration lists them under `extensions`",
    )
    check.add_argument("--device", help="cpu, cuda, ... (default: the GPU if there is one)")
    check.add_argument("--json", action="store_true", help="print JSON instead of a list")
    return parser


def _check_extension(options: argparse.Namespace) -> None:
    from decoder.check_extension import check_extension

    findings = check_extension(options.files, options.device)
    if options.json:
        found = list(findings)
        print_document(json.dumps({"findings": [one._asdict() for one in found]}, indent=1))
        n_failed = sum(bool(one.problem) for one in found)
    else:
        n_failed = _print_findings(findings)
    if n_failed:
        what = "check" if n_failed == 1 else "checks"
        raise ConfigError(f"{', '.join(options.files)}: {n_failed} {what} failed")


def _print_findings(findings: Iterator["Finding"]) -> int:
    """Print each finding as it comes.

    Returns:
        How many checks failed.
    """
    n_failed, title = 0, ""
    for one in findings:
        if one.part != title:
            title = one.part
            print(title)
        n_failed += bool(one.problem)
        note = f" ({one.note})" if one.note and not one.problem else ""
        print(f"  {'FAILS' if one.problem else 'ok   '}  {one.check}{note}")
        if one.problem:
            print(f"         {one.problem}")
    return n_failed


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
    print_document(json.dumps(document, indent=1) if options.json else _text(document))


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


def _document(score: "Score", split: str, weights: "Weights") -> dict[str, Any]:
    """The score as plain JSON values; a rate that is undefined is None."""

    def row(one: Any) -> dict[str, Any]:
        return {**one._asdict(), "per": None if math.isnan(one.per) else one.per}

    return {
        "checkpoint": str(weights.path),
        "layout": weights.layout,
        "split": split,
        "all": row(score.total),
        "sessions": [row(one) for one in score.sessions],
        "n_too_short": score.n_too_short,
        "n_not_alignable": score.n_not_alignable,
        "n_empty": score.n_empty,
        "sessions_without_recordings": list(score.missing),
        "recordings_without_day_layer": list(score.unlisted),
        "beam": score.beam,
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
            "(the table shows greedy decoding)"
        )
    remarks = {
        "n_too_short": "trials are shorter than one patch; all their phonemes count as deletions",
        "n_not_alignable": "trials have more phonemes than the output has patches; they count",
        "n_empty": "trials have no phonemes; they do not count",
    }
    lines += [f"{document[key]} {text}" for key, text in remarks.items() if document[key]]
    for key, text in (
        ("sessions_without_recordings", "sessions of the decoder have no recordings"),
        ("recordings_without_day_layer", "sessions have no day layer and are not scored"),
    ):
        if document[key]:
            lines.append(f"{len(document[key])} {text}: {', '.join(document[key])}")
    saved = document["said_by_checkpoint"]
    if saved:
        per = next(iter(saved.values()))
        lines.append(f"PER when the weights were saved: {100 * per:.2f} %")
    return "\n".join(lines)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {value}")
    return value


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": train,
    "train-run": train_exported,
    "evaluate": _evaluate,
    "export": _export,
    "predict": predict,
    "check-extension": _check_extension,
}


if __name__ == "__main__":
    sys.exit(main())
