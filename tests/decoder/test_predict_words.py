"""`python -m decoder predict --words`: the search of a run, with the weights that it chose."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flashlight")

from decoder.__main__ import main
from decoder.api import predict_trials
from decoder.config import DecoderConfig, override, resolve
from decoder.data.prepare import prepare
from decoder.data.synthetic import RECIPES, make_synthetic
from decoder.pack import Pack, Run
from decoder.train import train
from decoder.weights import read_weights
from decoder.words.beam import BeamSettings, WordDecoder
from decoder.words.resources import load_resources

WORDS = {"decoder": "beam", "lexicon": "train", "language_model": "train", "ngram_order": 2}
STATED = {"lm_weight": 0.5, "word_score": 2.0, "blank_penalty": 4.0}
SETTINGS: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 1,
    "data.held_out_sessions": 1,
    "model.n_units": 12,
    "model.n_layers": 1,
    "model.patch_size": 6,
    "model.patch_stride": 3,
    "optim.lr_warmup_steps": 2,
    "optim.lr_max": 0.02,
    "train.n_steps": 30,
    "train.eval_every_steps": 30,
    "train.keep_weights": "final",
}


def config_of(**words: Any) -> DecoderConfig:
    fields = {f"evaluation.words.{name}": value for name, value in {**WORDS, **words}.items()}
    return resolve(override(DecoderConfig(), {**SETTINGS, **fields}, "test"))


Kept = tuple[Path, Path]


@pytest.fixture(params=["tiny", "t12_tiny"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """The folder of a run with its weights and the record of what it chose; its recordings."""
    recordings = tmp_path / "recordings"
    make_synthetic(RECIPES[request.param], recordings)
    dataset = prepare(str(recordings), None, None, tmp_path / "datasets", needs_sentences=True)
    pack = Pack("pack", 1, (Run("run", config_of()),))
    events = train(pack, dataset, device="cpu", weights_dir=tmp_path / "runs")
    [result] = [result for event in events for result in event.finished]
    folder = tmp_path / "runs" / "run"
    (folder / "record.json").write_text(json.dumps({"words": dict(result.words)}))
    return folder, recordings


def expected(kept: Kept, weights: dict[str, float], scratch: Path) -> list[str]:
    """The sentences, put together by hand from the store's sentences and the search."""
    folder, recordings = kept
    dataset = prepare(str(recordings), None, None, scratch, needs_sentences=True)
    assert dataset.train.sentences is not None
    trained = np.flatnonzero(dataset.train.day == 0)  # day 1 is held out
    resources = load_resources(
        lexicon="train",
        language_model="train",
        order=2,
        folder=recordings,
        training=[dataset.train.sentences[trial] for trial in trained],
        datasets_dir=scratch,
    )
    decoder = WordDecoder(resources.space, BeamSettings(50, **weights))
    trials = predict_trials(read_weights(folder), recordings, device="cpu")
    return [" ".join(decoder.decode(one.logits.logits)[0].words) for one in trials]


def command(kept: Kept, output: Path, *words: str) -> int:
    given = ["--checkpoint", kept[0], "--data", kept[1], "--output", output, "--device", "cpu"]
    return main(["predict", *map(str, given), *words])


def texts(path: Path) -> list[str]:
    return [row["text"] for row in csv.DictReader(io.StringIO(path.read_text()))]


def stated(**changes: float) -> list[str]:
    fields = {**STATED, **changes}
    return [w for name in fields for w in ("--set", f"evaluation.words.{name}={fields[name]}")]


def test_sentences_are_found_with_the_weights_that_the_run_chose(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = json.loads((kept[0] / "record.json").read_text())["words"]
    weights = {name: chosen[name] for name in STATED}
    assert command(kept, tmp_path / "w.csv", "--words", "--json") == 0
    found = texts(tmp_path / "w.csv")
    assert found == expected(kept, weights, tmp_path / "scratch") and len(found) == 4
    assert json.loads(capsys.readouterr().out)["n_empty"] == found.count("")


def test_stated_weights_need_no_record(kept: Kept, tmp_path: Path) -> None:
    (kept[0] / "record.json").unlink()
    assert command(kept, tmp_path / "w.csv", "--words", *stated()) == 0
    assert texts(tmp_path / "w.csv") == expected(kept, STATED, tmp_path / "scratch")
    assert any(texts(tmp_path / "w.csv"))


@pytest.mark.parametrize(
    ("what", "words", "said"),
    [
        ("no record", ["--words"], "lm_weight"),
        ("damaged record", ["--words"], "lm_weight"),
        ("other model", ["--words", "--set", "evaluation.words.ngram_order=3"], "language model"),
        ("no decoder", ["--words", "--set", "evaluation.words.decoder=none"], "decoder=beam"),
        ("no words", ["--set", "evaluation.words.ngram_order=1"], "--words"),
        ("other key", ["--words", "--set", "model.n_units=3"], "model.n_units"),
        ("wrong key", ["--words", "--set", "evaluation.words.lm_wight=3"], "lm_weight"),
        ("no value", ["--words", "--set", "evaluation.words.lm_weight"], "PATH=VALUE"),
        ("no file", ["--words", "--set", "evaluation.words.language_model=x.arpa"], "x.arpa"),
    ],
)
def test_what_cannot_give_sentences_is_refused_and_nothing_is_written(
    what: str,
    words: list[str],
    said: str,
    kept: Kept,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if what == "no record":
        (kept[0] / "record.json").unlink()
    elif what == "damaged record":
        (kept[0] / "record.json").write_text("[" * 50)
    assert command(kept, tmp_path / "w.csv", *words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "w.csv").exists()


def test_a_command_gives_the_sentences(kept: Kept, tmp_path: Path) -> None:
    script = tmp_path / "lab.py"
    script.write_text(
        "import sys, numpy\n"
        "n = len(numpy.load(sys.argv[1])['offsets']) - 1\n"
        "lines = [f'{i},Trial {i}!' for i in range(n)]\n"
        "open(sys.argv[2], 'w').write('\\n'.join(['id,text', *lines]))\n"
    )
    argv = json.dumps([sys.executable, str(script), "{logits}", "{sentences}"])
    fields = [
        "--set",
        "evaluation.words.decoder=command",
        "--set",
        f"evaluation.words.command={argv}",
    ]
    assert command(kept, tmp_path / "w.csv", "--words", *fields) == 0
    assert texts(tmp_path / "w.csv") == ["trial"] * 4
