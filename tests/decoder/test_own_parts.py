"""Parts of the user's in training: packs, resumes, weights, sizes, and what they get wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from user_parts import GOOD, pack_of, using, with_parts

from decoder.config import DecoderConfig, override
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.errors import ConfigError
from decoder.extensions import used_by
from decoder.memory import estimate_memory, n_parameters, size_of
from decoder.model.decoder import PackedDecoder
from decoder.model.own_parts import OwnPart
from decoder.official_weights import official_state_dict
from decoder.pack import Pack, RunResult
from decoder.part_calls import PartError
from decoder.state import PackState
from decoder.step import step_gradients
from decoder.train import train
from decoder.weights import build_decoder, read_weights

ALL = ("mix", "front", "back", "small", "frames")


def trained(pack: Pack, dataset: Dataset, **options: Any) -> dict[str, RunResult]:
    events = train(pack, dataset, device="cpu", **options)
    return {result.run_id: result for event in events for result in event.finished}


def model_of(*configs: DecoderConfig, seed: int = 1) -> PackedDecoder:
    return PackedDecoder(configs[0].model, len(configs), 4, 8, 41, seed, used=used_by(configs))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DecoderConfig:
    return with_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def three(base: DecoderConfig) -> tuple[DecoderConfig, ...]:
    """Runs of one pack that differ in parameters of parts."""
    one = using(base, *ALL)
    return (
        one,
        override(one, {"parts.mix.p": 0.5, "parts.small.weight": 2.0}),
        override(one, {"optim.lr_max": 0.01}),
    )


@pytest.fixture(scope="module")
def whole(three: tuple[DecoderConfig, ...], dataset: Dataset) -> Mapping[str, RunResult]:
    return trained(pack_of(*three), dataset)


def test_a_run_in_a_pack_is_the_run_alone(
    three: tuple[DecoderConfig, ...], whole: Mapping[str, RunResult], dataset: Dataset
) -> None:
    for index, config in enumerate(three):
        [alone] = trained(pack_of(config), dataset).values()
        together = whole[f"run-{index}"]
        for one, two in zip(together.history, alone.history, strict=True):
            assert one == pytest.approx(two, rel=1e-3, abs=1e-4)
    losses = {result.history[0]["train_loss"] for result in whole.values()}
    assert len(losses) == 3


@pytest.mark.parametrize("names", [("gru",), ("packed",), ("front", "gru", "back")])
def test_an_encoder_in_a_pack_is_the_encoder_alone(
    names: tuple[str, ...], base: DecoderConfig, dataset: Dataset
) -> None:
    one = using(base, *names)
    two = override(one, {"optim.lr_max": 0.01, **(_OTHER if "back" in names else {})})
    together = trained(pack_of(one, two), dataset)
    for index, config in enumerate((one, two)):
        [alone] = trained(pack_of(config), dataset).values()
        for a, b in zip(together[f"run-{index}"].history, alone.history, strict=True):
            assert a == pytest.approx(b, rel=1e-3, abs=1e-4)


_OTHER = {"parts.back.dropout": 0.5}


@pytest.mark.parametrize("name", ["training", "forward", "keys"])
def test_a_part_may_be_named_like_what_pytorch_keeps(name: str, tmp_path: Path) -> None:
    text = f"@layer('{name}', place='after')\ndef f(n, p):\n    return nn.Linear(n, 5)\n"
    config = with_parts(tmp_path, f"from torch import nn\nfrom decoder.parts import *\n{text}")
    model = model_of(using(config, name))
    assert list(model.parts) == [f"{name}_"]
    assert f"parts.{name}_.inner.weight" in dict(model.named_parameters())


def test_a_module_is_packed_where_that_gives_the_same(base: DecoderConfig) -> None:
    config = using(base, "front", "back")
    parts = model_of(config, config).parts
    assert [part.by_func for part in parts.values()] == [True, True]
    other = override(config, _OTHER)
    assert [part.by_func for part in model_of(config, other).parts.values()] == [True, False]
    gru = using(base, "gru")
    assert [part.by_func for part in model_of(gru, gru).parts.values()] == [False]


def test_both_ways_drop_the_same_and_a_higher_rate_drops_more(base: DecoderConfig) -> None:
    from decoder.model.dropout import DropoutPlan

    configs = [using(base, "back"), using(base, "back", parts__back__dropout=0.6)]
    [used] = used_by([configs[0]] * 2)
    x, lengths = torch.randn(1, 3, 7, 6).expand(2, -1, -1, -1), torch.tensor([7, 5, 7])
    plan = DropoutPlan([], 5, 9, torch.device("cpu"))
    both = OwnPart(used, 6, 1, torch.device("cpu"))
    together = both(x, lengths, plan)
    both.by_func = False
    assert torch.allclose(together, both(x, lengths, plan), atol=1e-5)
    [used] = used_by(configs)
    out = OwnPart(used, 6, 1, torch.device("cpu"))(x, lengths, plan)
    dropped = out == 0
    assert (dropped[0] & ~dropped[1]).sum() == 0 and dropped[1].sum() > dropped[0].sum()


def test_runs_of_a_seed_start_from_the_same_weights_in_any_pack(base: DecoderConfig) -> None:
    config = using(base, *ALL)
    alone, pair = model_of(config), model_of(config, override(config, {"parts.mix.p": 0.5}))
    for name, parameter in pair.named_parameters():
        assert torch.equal(parameter[0], parameter[1])
        assert torch.equal(parameter[0], alone.get_parameter(name)[0])
    other = model_of(config, seed=2).get_parameter("parts.back.inner.linear.weight")
    assert not torch.equal(other, alone.get_parameter("parts.back.inner.linear.weight"))


def test_a_resumed_pack_gives_the_same_numbers(
    three: tuple[DecoderConfig, ...],
    whole: Mapping[str, RunResult],
    dataset: Dataset,
    tmp_path: Path,
) -> None:
    for _ in train(pack_of(*three), dataset, device="cpu", checkpoint_dir=tmp_path, until_step=3):
        pass
    resumed = trained(pack_of(*three), dataset, checkpoint_dir=tmp_path)
    assert {run: result.history for run, result in resumed.items()} == {
        run: result.history for run, result in whole.items()
    }


def test_written_weights_are_read_back(
    base: DecoderConfig, dataset: Dataset, tmp_path: Path
) -> None:
    config = using(base, "front", "back", train__keep_weights="final", model__day_layer="none")
    trained(pack_of(config), dataset, weights_dir=tmp_path)
    weights = read_weights(tmp_path / "run-0")
    assert weights.config is not None
    model = build_decoder(weights, weights.config)
    mean = model.get_buffer("parts.back.inner.norm.running_mean")
    assert mean.any() and torch.equal(
        mean[0], weights.tensors["parts.back.inner.norm.running_mean"]
    )
    with pytest.raises(ConfigError, match="layers of your own"):
        official_state_dict(model, 0, weights.config, "t15")


def test_a_metric_is_a_column_of_the_history(
    whole: Mapping[str, RunResult], dataset: Dataset, base: DecoderConfig
) -> None:
    trials = Trials.select(dataset, using(base, "frames"))
    batches = list(trials.validation_batches())
    n_patches = sum(int(((batch.n_bins - 4) // 2 + 1).sum()) for batch in batches)
    n_labels = sum(int(batch.n_labels.sum()) for batch in batches)
    for result in whole.values():
        assert [row["own_frames"] for row in result.history] == [n_patches / n_labels] * 2


def test_a_loss_term_adds_its_gradient_and_leaves_the_validation_loss(
    base: DecoderConfig, dataset: Dataset
) -> None:
    def first_step(config: DecoderConfig) -> tuple[float, torch.Tensor]:
        state = PackState.start(pack_of(config), dataset, torch.device("cpu"))
        losses, gradients = step_gradients(state, Trials.select(dataset, config), 1)
        return float(losses[0]), gradients["head.bias"][0]

    (plain, of_plain), (one, of_one), (two, of_two) = (
        first_step(config)
        for config in (
            base,
            using(base, "small", parts__small__weight=1.0),
            using(base, "small", parts__small__weight=2.0),
        )
    )
    assert one > plain and two - plain == pytest.approx(2 * (one - plain), rel=1e-3)
    assert torch.allclose(of_two - of_plain, 2 * (of_one - of_plain), atol=1e-4)


@pytest.mark.parametrize("names", [("front",), ("back",), ("gru",), ("front", "packed", "back")])
def test_parameters_and_memory_of_parts_are_counted(
    names: tuple[str, ...], base: DecoderConfig, dataset: Dataset
) -> None:
    config, size = using(base, *names), size_of(dataset)
    assert n_parameters(config, size) == model_of(config).n_parameters()
    wider = override(config, {"model.patch_size": 8})
    less, more = (estimate_memory(one, size, "cpu").per_run for one in (config, wider))
    assert less > 0 and more != less


def test_a_layer_of_quadratic_memory_is_estimated_so(tmp_path: Path) -> None:
    from decoder.part_sizes import part_sizes

    text = GOOD + (
        "\n@encoder('attention')\nclass Attention(nn.Module):\n"
        "    def __init__(self, n, p):\n        super().__init__()\n"
        "        self.map = nn.Linear(n, 4)\n"
        "    def forward(self, x):\n        x = self.map(x)\n"
        "        return (x @ x.transpose(1, 2)).softmax(-1) @ x\n"
    )
    [attention] = part_sizes(using(with_parts(tmp_path, text), "attention"), 8).others
    assert attention.square >= 4  # one float32 for each pair at least
    [back] = part_sizes(using(with_parts(tmp_path, text), "back"), 8).others
    assert back.square == pytest.approx(0, abs=1e-6) and back.linear > 0


def test_parameter_groups_follow_the_number_of_axes(base: DecoderConfig) -> None:
    groups = model_of(using(base, "back")).groups()
    own = {name.removeprefix("parts.back.inner."): group for name, group in groups.items()}
    assert own["linear.weight"] == "weight"
    assert own["linear.bias"] == own["norm.weight"] == own["scale"] == "bias"


def test_runs_that_leave_a_pack_take_their_parts_along(
    three: tuple[DecoderConfig, ...], dataset: Dataset
) -> None:
    short = override(three[0], {"train.n_steps": 2})
    together = trained(pack_of(short, *three[1:]), dataset)
    alone = trained(pack_of(*three[1:]), dataset)
    for one, two in (("run-1", "run-0"), ("run-2", "run-1")):
        assert together[one].history[-1] == pytest.approx(alone[two].history[-1], rel=1e-3)


BAD = {
    "shape": (
        "@layer('bad', place='after')\nclass Bad(nn.Module):\n"
        "    def __init__(self, n, p):\n        super().__init__()\n"
        "    def forward(self, x):\n        return x[:, ::2]\n",
        "shape (2, 32, any) for x (2, 32, 6), but returned shape (2, 16, 6)",
    ),
    "tuple": (
        "@layer('bad', place='after')\ndef bad(n, p):\n"
        "    return nn.LSTM(n, 3, batch_first=True)\n",
        "but returned tuple",
    ),
    "crash": (
        "@layer('bad', place='before')\nclass Bad(nn.Module):\n"
        "    def __init__(self, n, p):\n        super().__init__()\n"
        "    def forward(self, x):\n        return x.no_such_name\n",
        "AttributeError",
    ),
    "no module": (
        "@encoder('bad')\ndef bad(n, p):\n    return 3\n",
        "must return a torch.nn.Module",
    ),
    "half": (
        "@encoder('bad')\ndef bad(n, p):\n    return nn.Linear(n, 2).half()\n",
        "torch.float16",
    ),
    "no runs": (
        "@encoder('bad', packed=True)\ndef bad(n, runs, source):\n    return nn.Linear(n, 2)\n",
        "must have a leading axis of 1 runs",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_module_that_cannot_be_used_is_one_message(case: str, tmp_path: Path) -> None:
    text, said = BAD[case]
    config = using(with_parts(tmp_path, GOOD + text), "bad")
    with pytest.raises(ConfigError) as caught:
        model_of(config)
    file = str(tmp_path / "my_parts.py")
    assert str(caught.value).startswith(f"{file}:") and said in str(caught.value)
    if case == "crash":
        n_lines = len((GOOD + text).splitlines())
        assert str(caught.value).startswith(f"{file}:{n_lines}: layer before 'bad'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@augmentation('bad')\ndef bad(x, n, runs, g):\n    return x[:, 1:]\n", "returned shape"),
        ("@loss('bad')\ndef bad(l, t, n, m, runs):\n    return l.mean((1, 2))\n", "returned shape"),
        ("@loss('bad')\ndef bad(l, t, n, m, runs):\n    return l + t.foo\n", "AttributeError"),
    ],
)
def test_a_function_that_fails_in_a_step_is_named_with_its_line(
    text: str, said: str, tmp_path: Path, dataset: Dataset
) -> None:
    config = using(with_parts(tmp_path, GOOD + text), "bad")
    with pytest.raises(PartError) as caught:
        trained(pack_of(config), dataset)
    assert str(caught.value).startswith(f"{tmp_path / 'my_parts.py'}:") and said in str(
        caught.value
    )


def test_runs_of_a_pack_must_have_modules_of_one_shape(tmp_path: Path) -> None:
    text = GOOD.replace("width: Width = 6", "width: Annotated[Width, PER_RUN] = 6")
    config = using(with_parts(tmp_path, text), "back")
    with pytest.raises(ConfigError, match="remove PER_RUN"):
        model_of(config, override(config, {"parts.back.width": 9}))
