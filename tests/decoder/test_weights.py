"""Files of weights: reading every layout gives the same logits; checks; writing."""

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from decoder.config import DecoderConfig, override, resolve
from decoder.data.store import Dataset
from decoder.errors import CheckpointError, ConfigError
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.official_weights import official_state_dict, save_official
from decoder.pack import Pack, Run, RunResult
from decoder.smoothing import smooth_batch
from decoder.train import choose_device, train
from decoder.weights import build_decoder, read_weights, save_weights

N_DAYS, N_FEATURES = 11, 3  # more than ten days, so that an order by name would be noticed
SMALL = {
    "model.n_units": 4,
    "model.n_layers": 2,
    "model.patch_size": 6,
    "model.patch_stride": 2,
}
T12 = SMALL | {
    "augment.smooth_taps": "all",
    "augment.smooth_size_bins": 20,
    "model.bidirectional": True,
    "model.h0": "zero",
    "model.count_last_patch": False,
}


def make_config(changes: dict[str, Any]) -> DecoderConfig:
    return override(DecoderConfig(), changes, "test")


def make_model(config: DecoderConfig, n_runs: int = 2) -> PackedDecoder:
    """A model whose runs differ and whose day layers are not the identity."""
    model = PackedDecoder(config.model, n_runs, N_DAYS, N_FEATURES, 41, seed=3)
    source = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=source)
    return model.eval()


class OfficialT15(nn.Module):
    """The published T15 decoder's parameters under its names, evaluated by torch's own GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.day_weights = nn.ParameterList([torch.rand(3, 3) for _ in range(N_DAYS)])
        self.day_biases = nn.ParameterList([torch.rand(1, 3) for _ in range(N_DAYS)])
        self.gru = nn.GRU(6 * N_FEATURES, 4, 2, batch_first=True)
        self.out = nn.Linear(4, 41)
        self.h0 = nn.Parameter(torch.rand(1, 1, 4))

    def forward(self, x: Tensor, day: int) -> Tensor:
        x = nn.functional.softsign(x @ self.day_weights[day] + self.day_biases[day])
        x = x.unfold(1, 6, 2).transpose(2, 3).flatten(2)
        out: Tensor = self.out(self.gru(x, self.h0.expand(2, len(x), 4).contiguous())[0])
        return out


class OfficialT12(nn.Module):
    """The published T12 decoder's parameters under its names, evaluated by torch's own GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.dayWeights = nn.Parameter(torch.rand(N_DAYS, 3, 3))
        self.dayBias = nn.Parameter(torch.rand(N_DAYS, 1, 3))
        self.gru_decoder = nn.GRU(18, 4, 2, batch_first=True, bidirectional=True)
        for day in range(N_DAYS):
            setattr(self, f"inpLayer{day}", nn.Linear(3, 3))
        self.fc_decoder_out = nn.Linear(8, 41)
        self.gaussianSmoother = nn.Module()
        taps = torch.exp(-(((torch.arange(20.0) - 9.5) / 2) ** 2) / 2)
        self.gaussianSmoother.register_buffer("weight", (taps / taps.sum()).repeat(3, 1, 1))

    def forward(self, x: Tensor, day: int) -> Tensor:
        taps = self.get_buffer("gaussianSmoother.weight")
        x = nn.functional.pad(x.transpose(1, 2), (9, 10))
        x = nn.functional.conv1d(x, taps, groups=3)
        x = nn.functional.softsign(x.transpose(1, 2) @ self.dayWeights[day] + self.dayBias[day])
        columns = nn.functional.unfold(x.transpose(1, 2)[..., None], (6, 1), stride=2)
        x = columns.transpose(1, 2)  # of a patch: feature by feature, not bin by bin
        out: Tensor = self.fc_decoder_out(self.gru_decoder(x)[0])
        return out


def logits(model: PackedDecoder, config: DecoderConfig, x: Tensor, day: int) -> Tensor:
    """(B, P, C) of run 0."""
    if not config.model.count_last_patch:  # the T12 decoder smooths inside
        x = smooth_batch(x, config.augment)
    with torch.no_grad():
        return model(x[None], day_slices(torch.full((len(x),), day))).logits[0].transpose(0, 1)


def write_t15(path: Path, state: dict[str, Tensor], prefix: str = "") -> None:
    """A file as the official trainer saves it, with a numpy scalar and optimizer states."""
    checkpoint = {
        "model_state_dict": OrderedDict((prefix + name, value) for name, value in state.items()),
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.9)}]},
        "scheduler_state_dict": {"base_lrs": [0.005], "last_epoch": 3, "lr_lambdas": [None]},
        "val_PER": 0.25,
        "val_loss": np.mean([np.array(1.5, np.float32), 1.5]),
    }
    torch.save(checkpoint, path)


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "module._orig_mod."])
def test_a_t15_checkpoint_gives_the_logits_of_its_decoder(prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = OfficialT15().eval()
    write_t15(tmp_path / "best_checkpoint", theirs.state_dict(), prefix)
    weights = read_weights(tmp_path / "best_checkpoint")
    assert (weights.layout, weights.n_days) == ("t15", N_DAYS)
    assert weights.facts == {"val_PER": 0.25, "val_loss": 1.5}
    config, x = make_config(SMALL), torch.randn(2, 20, N_FEATURES)
    ours = build_decoder(weights, config)
    for day in range(N_DAYS):
        torch.testing.assert_close(logits(ours, config, x, day), theirs(x, day))


def test_t12_weights_give_the_logits_of_their_decoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = OfficialT12().eval()
    torch.save(theirs.state_dict(), tmp_path / "modelWeights")
    weights = read_weights(tmp_path / "modelWeights")
    assert (weights.layout, weights.n_days) == ("t12", N_DAYS)
    config, x = make_config(T12), torch.randn(2, 30, N_FEATURES)
    ours = build_decoder(weights, config)
    for day in range(N_DAYS):
        torch.testing.assert_close(logits(ours, config, x, day), theirs(x, day))


@pytest.mark.parametrize(("changes", "official"), [(SMALL, OfficialT15), (T12, OfficialT12)])
def test_exported_weights_load_strictly_into_an_official_decoder(
    changes: dict[str, Any], official: type[nn.Module], tmp_path: Path
) -> None:
    config = make_config(changes)
    model, theirs = make_model(config), official().eval()
    layout = "t15" if official is OfficialT15 else "t12"
    theirs.load_state_dict(official_state_dict(model, 1, config, layout))  # type: ignore[arg-type]
    model.keep_runs([1])
    x = torch.randn(2, 30, N_FEATURES)
    for day in (0, 2, 10):
        torch.testing.assert_close(logits(model, config, x, day), theirs(x, day))


@pytest.mark.parametrize(("changes", "layout"), [(SMALL, "t15"), (T12, "t12")])
def test_a_written_official_file_is_read_back_unchanged(
    changes: dict[str, Any], layout: Any, tmp_path: Path
) -> None:
    config = make_config(changes)
    model = make_model(config)
    save_official(tmp_path / "file", model, 1, config, layout, {"val_PER": 0.5})
    weights = read_weights(tmp_path / "file")
    assert weights.layout == layout
    assert weights.facts == ({"val_PER": 0.5} if layout == "t15" else {})
    for name, parameter in build_decoder(weights, config).named_parameters():
        assert torch.equal(parameter[0], model.get_parameter(name)[1])


@pytest.mark.parametrize(
    "changes",
    [
        SMALL,
        T12,
        SMALL | {"model.architecture": "lstm", "model.layer_norm": True},
        SMALL | {"model.day_layer": "none"},
        SMALL | {"model.day_layer": "shared", "model.post_rnn_layers": 1},
        SMALL | {"model.architecture": "transformer", "model.n_heads": 2},
    ],
)
def test_weights_of_ours_hold_their_configuration_and_sessions(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    config = make_config(changes)
    model = make_model(config)
    sessions = [f"t15.2000.01.{day:02d}" for day in range(1, N_DAYS + 1)]
    save_weights(tmp_path, model, 1, config, sessions, {"per": 0.5})
    weights = read_weights(tmp_path)
    assert (weights.config, weights.sessions) == (config, tuple(sessions))
    built = build_decoder(weights, config)
    for name, parameter in built.named_parameters():
        assert torch.equal(parameter[0], model.get_parameter(name)[1])
    beside = json.loads((tmp_path / "weights.json").read_text())
    assert beside["config"]["model"]["n_units"] == 4 and beside["facts"] == {"per": 0.5}


def test_a_pickle_that_could_run_code_is_not_opened(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "was run"),)

    torch.save({"model_state_dict": {}, "val_PER": Harmful()}, tmp_path / "best_checkpoint")
    with pytest.raises(CheckpointError, match=r"mkdir.*could run any code"):
        read_weights(tmp_path / "best_checkpoint")
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 torn"])
@pytest.mark.parametrize("name", ["best_checkpoint", "weights.safetensors"])
def test_a_file_that_is_damaged_or_of_another_kind_is_named(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        read_weights(tmp_path / name)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(tmp_path / "missing" / name)


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="keep_weights"):
        read_weights(tmp_path / "model.safetensors")
    for content in ([torch.zeros(2)], {"a": 1}, {0: torch.zeros(2)}, {"model_state_dict": [1]}):
        torch.save(content, tmp_path / "other")
        with pytest.raises(CheckpointError, match="model_state_dict"):
            read_weights(tmp_path / "other")


def test_weights_of_another_shape_name_parameter_and_both_shapes(tmp_path: Path) -> None:
    write_t15(tmp_path / "best", OfficialT15().state_dict())
    weights = read_weights(tmp_path / "best")
    with pytest.raises(ConfigError) as wide:
        build_decoder(weights, make_config(SMALL | {"model.n_units": 5}))
    assert "'gru.weight_ih_l0': has shape (12, 18), but the configured decoder has (15, 18)" in (
        str(wide.value)
    )
    with pytest.raises(ConfigError) as deep:
        build_decoder(weights, make_config(SMALL | {"model.n_layers": 3}))
    assert "'layers.2.weight_ih' (12, 4) is missing" in str(deep.value)
    with pytest.raises(ConfigError, match=r"'h0' \(4,\) does not belong"):
        build_decoder(weights, make_config(SMALL | {"model.h0": "zero"}))


def test_t12_weights_with_another_smoothing_are_refused(tmp_path: Path) -> None:
    torch.save(OfficialT12().state_dict(), tmp_path / "modelWeights")
    weights = read_weights(tmp_path / "modelWeights")
    for change in ({"augment.smooth_std_bins": 1.0}, {"augment.smooth": False}):
        with pytest.raises(ConfigError, match="gaussianSmoother"):
            build_decoder(weights, make_config(T12 | change))


@pytest.mark.parametrize(
    ("layout", "changes", "field"),
    [
        ("t15", {"model.h0": "zero"}, "model.h0"),
        ("t15", {"model.bidirectional": True}, "model.bidirectional"),
        ("t15", {"model.layer_norm": True}, "model.layer_norm"),
        ("t12", {"model.architecture": "lstm"}, "model.architecture"),
        ("t12", {"augment.smooth_size_bins": 9}, "smooth_size_bins"),
        ("t12", {"model.day_layer": "shared"}, "model.day_layer"),
    ],
)
def test_a_decoder_with_parts_that_the_official_one_lacks_is_not_exported(
    layout: Any, changes: dict[str, Any], field: str
) -> None:
    config = make_config((SMALL if layout == "t15" else T12) | changes)
    with pytest.raises(ConfigError, match=field):
        official_state_dict(make_model(config), 0, config, layout)


def keeping(keep: str, **changes: Any) -> DecoderConfig:
    budget = {"train.n_steps": 6, "train.eval_every_steps": 2, "optim.lr_warmup_steps": 1}
    batch = {"data.batch_size": 6, "data.days_per_batch": 3, "train.keep_weights": keep}
    return resolve(make_config({**SMALL, **budget, **batch, **changes}))


def results_of(pack: Pack, dataset: Dataset, folder: Path) -> dict[str, RunResult]:
    events = train(pack, dataset, weights_dir=folder)
    return {result.run_id: result for event in events for result in event.finished}


def test_runs_of_a_pack_keep_the_weights_they_are_configured_to_keep(
    dataset: Dataset, tmp_path: Path
) -> None:
    # A learning rate that soon destroys what was learned, so that the best is not the last.
    rough = {"optim.lr_max": 5.0, "optim.lr_min": 5.0}
    configs = {
        "none": keeping("none"),
        "final": keeping("final", **rough),
        "best": keeping("best", **rough),
        "averaged": keeping("final", **{"optim.ema_decay": 0.5}),
    }
    pack = Pack("pack", 5, tuple(Run(name, config) for name, config in configs.items()))
    results = results_of(pack, dataset, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["averaged", "best", "final"]
    for name in ("averaged", "final", "best"):
        weights = read_weights(tmp_path / name)
        history = results[name].history
        best = min(history, key=lambda row: (row["per"], row["val_loss"]))
        row = best if name == "best" else history[-1]
        assert weights.facts["step"] == row["step"], name
        assert weights.config == configs[name] and weights.sessions == dataset.sessions
        loss = _validation_loss(weights, configs[name], dataset)
        # Alone a run is summed in another order than in its pack, and on a GPU more coarsely.
        assert loss == pytest.approx(row["val_loss"], rel=1e-4)
        others = [entry["val_loss"] for entry in history if entry is not row]
        assert all(abs(loss / other - 1) > 1e-3 for other in others), "any step's weights would do"
    assert read_weights(tmp_path / "best").facts["step"] < 6


def _validation_loss(weights: Any, config: DecoderConfig, dataset: Dataset) -> float:
    from decoder.data.trials import Trials
    from decoder.evaluation import evaluate

    device = choose_device(None)  # where they were trained
    model = build_decoder(weights, config).to(device)
    batches = Trials.select(dataset, config).validation_batches()
    metrics = evaluate(model, [config], batches, device).metrics
    return metrics.rows()[0]["val_loss"]


def test_keeping_weights_changes_neither_identity_nor_pack() -> None:
    from decoder.config import pack_key, run_id

    ids = {run_id(keeping(keep), 0, "d") for keep in ("none", "final", "best")}
    assert len(ids) == 1
    assert len({pack_key(keeping(keep)) for keep in ("none", "best")}) == 1
