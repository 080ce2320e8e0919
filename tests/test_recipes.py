"""What the recipes of CONTRIBUTING.md ask for, wherever no other test notices a forgotten step."""

import importlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
import typer
from shipped import DOCS, ROOT

from decoder import seeding
from decoder.collapse import CollapseThresholds
from decoder.config import DecoderConfig, config_paths, override, resolve
from decoder.data.batches import Batch
from decoder.errors import ConfigError
from decoder.field_paths import sections, split_path
from decoder.metrics import MetricSums
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.objective import training_losses
from decoder.official_weights import OfficialLayout, save_official
from decoder.pack import HISTORY_COLUMNS
from decoder.phonemes import N_CLASSES
from decoder.step import forward_backward
from decoder.weights import build_decoder, read_weights, save_weights
from orchestrator.cli.app import app
from orchestrator.spec.schema import METRICS, SOME_METRICS, Design
from orchestrator.tables.run_columns import result_columns

# Every setting of the model, and its weights on disk

SMALL: dict[str, Any] = {
    "model.n_units": 8,
    "model.n_layers": 2,
    "model.n_heads": 2,
    "model.head_units": 4,
    "model.patch_size": 6,
    "model.patch_stride": 2,
    "model.post_rnn_units": 7,
}
T12 = {
    "augment.smooth_taps": "all",
    "augment.smooth_size_bins": 20,
    "model.bidirectional": True,
    "model.h0": "zero",
    "model.count_last_patch": False,
}
TRANSFORMER = {"model.architecture": "transformer"}
OFFICIAL: dict[OfficialLayout, dict[str, Any]] = {"t15": {}, "t12": T12}
N_DAYS, N_FEATURES = 3, 5


def other_values(path: str) -> list[Any]:
    """Values of a field other than its default, chosen by its type."""
    section, name = split_path(path)
    model: Any = sections()[section]
    field = model.model_fields[name]
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    if choices:
        return [value for value in choices if value != field.default]
    if isinstance(field.default, bool):
        return [not field.default]
    if isinstance(field.default, tuple):
        return [[1]]
    default = SMALL.get(path, field.default)
    return [default + 1] if isinstance(default, int) else [0.5]


MODEL_CHANGES = [
    pytest.param({path: value}, id=f"{path}={value}")
    for path in config_paths()
    if path.startswith("model.")
    for value in other_values(path)
]


def made_config(*changes: dict[str, Any]) -> DecoderConfig:
    whole = {key: value for part in (SMALL, *changes) for key, value in part.items()}
    return resolve(override(DecoderConfig(), whole, "test"))


def made_model(config: DecoderConfig) -> PackedDecoder:
    """One decoder whose parameters all differ from those it would start with."""
    model = PackedDecoder(config.model, 1, N_DAYS, N_FEATURES, N_CLASSES, seed=1)
    source = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=source)
    return model.eval()


def logits(model: PackedDecoder) -> torch.Tensor:
    x = torch.randn(1, 3, 30, N_FEATURES, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(x, day_slices(torch.arange(3))).logits


def made_batch() -> Batch:
    """Three trials of three days."""
    source = torch.Generator().manual_seed(0)
    return Batch(
        features=torch.randn(3, 30, N_FEATURES, generator=source),
        n_bins=torch.tensor([30, 30, 30]),
        labels=torch.randint(1, 6, (3, 2), generator=source),
        n_labels=torch.tensor([2, 2, 2]),
        day=torch.arange(3),
        index=torch.arange(3),
    )


@pytest.mark.parametrize("changes", MODEL_CHANGES)
def test_weights_of_every_setting_of_the_model_are_read_back(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    bare = {"model.day_layer": "none"}
    for part in ({}, bare, {"model.architecture": "lstm", **bare}, TRANSFORMER, TRANSFORMER | bare):
        config = made_config(part, changes)
        model = made_model(config)
        sessions = [f"t15.2000.01.{day:02d}" for day in range(1, N_DAYS + 1)]
        save_weights(tmp_path, model, 0, config, sessions, {})
        assert torch.equal(logits(build_decoder(read_weights(tmp_path), config)), logits(model))


@pytest.mark.parametrize("layout", OFFICIAL)
@pytest.mark.parametrize("changes", MODEL_CHANGES)
def test_a_setting_that_the_official_decoder_lacks_is_not_exported(
    changes: dict[str, Any], layout: OfficialLayout, tmp_path: Path
) -> None:
    config = made_config(OFFICIAL[layout], changes)
    model = made_model(config)
    try:
        save_official(tmp_path / "file", model, 0, config, layout, {})
    except ConfigError as error:
        assert set(changes) <= {problem.split()[0] for problem in error.problems}
        return
    assert torch.equal(
        logits(build_decoder(read_weights(tmp_path / "file"), config)), logits(model)
    )


# Draws


def test_no_two_random_parts_share_their_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts that name their generator alike get the same numbers, so they are dependent."""
    names: list[str] = []

    def generator(seed: int, purpose: str, step: int = 0, device: str = "cpu") -> torch.Generator:
        names.append(purpose)
        return seeding.generator(seed, purpose, step, device)

    for module in [m for name, m in sys.modules.items() if name.startswith("decoder.")]:
        if module is not seeding and hasattr(module, "generator"):
            monkeypatch.setattr(module, "generator", generator)
    everything = {
        path: other_values(path)[0]
        for path, marks in config_paths().items()
        if path.startswith("augment.") and not isinstance(marks.default, bool | str)
    }
    n_before = 0
    for part in ({"model.post_rnn_layers": 1, "model.mask_token": "learned"}, TRANSFORMER):
        dropout = {path: 0.3 for path in config_paths() if path.endswith("dropout")}
        config = made_config(everything, dropout, part)
        model = made_model(config)
        forward_backward(model, [config], made_batch(), seed=1, step=5)
        assert len(names) > n_before + 12
        twice = [name for name, n in Counter(names[n_before:]).items() if n > 1]
        assert not twice
        n_before = len(names)


# Losses and metrics

LOSS_CHANGES = [
    pytest.param({path: value}, id=f"{path}={value}")
    for path, marks in config_paths().items()
    if path.startswith("loss.") and not marks.idle_if and path != "loss.zero_infinity"
    for value in other_values(path)
]
N_PATCHES = torch.tensor([4, 3, 2])


def made_logits(n_patches: int = 4) -> torch.Tensor:
    """(1, P, 3, C)."""
    source = torch.Generator().manual_seed(0)
    return torch.randn(1, n_patches, 3, N_CLASSES, generator=source)


@pytest.mark.parametrize("changes", LOSS_CHANGES)
def test_no_part_of_the_loss_reads_padding_or_a_trial_without_an_alignment(
    changes: dict[str, Any],
) -> None:
    config = made_config({"loss.zero_infinity": True}, changes).loss
    prior = torch.full((1, N_CLASSES), 1 / N_CLASSES) if config.label_prior_weight else None
    labels, n_labels = torch.tensor([[1, 2], [3, 4], [5, 5]]), torch.tensor([2, 2, 2])
    logits = made_logits().requires_grad_()
    loss = training_losses(logits, labels, N_PATCHES, n_labels, [config], prior)
    [gradient] = torch.autograd.grad(loss.sum(), logits)
    reads = (gradient[0] != 0).any(-1)  # (P, B)
    # The target of the last trial, two equal labels, needs three patches.
    assert reads.T.tolist() == [[True] * 4, [True] * 3 + [False], [False] * 4]


def test_metrics_depend_neither_on_batches_nor_on_padding() -> None:
    logits, labels = made_logits(), torch.tensor([[1, 2], [3, 4], [5, 0]])
    n_labels, index = torch.tensor([2, 2, 1]), torch.arange(3)
    whole = MetricSums.zeros(1, torch.device("cpu"))
    whole.add(logits, labels, N_PATCHES, n_labels, False, index)
    parts = MetricSums.zeros(1, torch.device("cpu"))
    for i in range(3):
        padding = 7 * made_logits(3)[:, :, i : i + 1]
        padded = torch.cat([logits[:, : N_PATCHES[i], i : i + 1], padding], dim=1)
        one = slice(i, i + 1)
        parts.add(padded, labels[one], N_PATCHES[one], n_labels[one], False, index[one])
    assert parts.rows()[0] == pytest.approx(whole.rows()[0], rel=1e-5)


def test_a_claim_may_be_about_every_metric() -> None:
    """Otherwise it would pass the check of the file, and fail after the training."""
    columns = result_columns(None, (), CollapseThresholds())
    assert set(METRICS) - set(SOME_METRICS) <= set(columns)  # a claim adds those


# What a reader looks up


@pytest.mark.parametrize("name", sections())
def test_the_docstring_of_a_section_explains_every_field(name: str) -> None:
    section: Any = sections()[name]
    words = set(re.findall(r"\w+", section.__doc__))
    assert not {field.removesuffix("_day") for field in section.model_fields} - words


def test_every_metric_is_explained() -> None:
    """The tables of the example, which another test compares with the page, may be older."""
    text = (ROOT / "docs" / "results.md").read_text()
    assert not [name for name in HISTORY_COLUMNS if f"`{name}`" not in text]


def test_every_design_is_explained_to_users() -> None:
    pages = [ROOT / "README.md", *DOCS]
    text = "".join(page.read_text() for page in pages)
    assert not [design for design in get_args(Design) if f"`{design}`" not in text]


# Commands


def commands(app: typer.Typer, prefix: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """(words after ``python -m orchestrator``, function) of every command."""
    for command in app.registered_commands:
        assert command.callback is not None
        yield f"{prefix}{command.name or command.callback.__name__}", command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        if group.typer_instance.registered_callback is not None:
            callback = group.typer_instance.registered_callback.callback
            assert callback is not None
            yield f"{prefix}{group.name}", callback
        yield from commands(group.typer_instance, f"{prefix}{group.name} ")


@pytest.mark.parametrize(
    "command", [pytest.param(function, id=words) for words, function in commands(app)]
)
def test_every_command_answers_mistakes_in_one_line_and_explains_its_parameters(
    command: Callable[..., Any],
) -> None:
    unwrapped = getattr(command, "__wrapped__", None)
    assert unwrapped is not None, "it lacks @handled, so a mistake of the user ends in a traceback"
    assert command.__doc__, "it has no help"
    for name, hint in get_type_hints(command, include_extras=True).items():
        if name not in ("return", "context"):
            assert get_args(hint)[1].help, f"{name} has no help"


def test_every_command_is_registered() -> None:
    registered = {function for _, function in commands(app)}
    for path in sorted((ROOT / "orchestrator" / "cli").glob("*_command.py")):
        module = importlib.import_module(f"orchestrator.cli.{path.stem}")
        own = [f for f in vars(module).values() if getattr(f, "__module__", "") == module.__name__]
        handled = [function for function in own if hasattr(function, "__wrapped__")]
        assert handled and set(handled) <= registered, path.name
