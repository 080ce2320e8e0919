"""The optimizers of all runs at once, compared with PyTorch's own, in both implementations."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from decoder import optim
from decoder.checkpoint import Checkpoint, load_newest, save_checkpoint
from decoder.config import DecoderConfig, resolve
from decoder.model.decoder import PackedDecoder
from decoder.model.fused.available import why_not
from decoder.optim import GROUPS
from decoder.schedules import learning_rates
from decoder.sections import ModelConfig
from decoder.stacked_optim import StackedOptimizer
from decoder.training_sections import OptimConfig

from .compiling import compile_kernels

CPU = torch.device("cpu")
NO_KERNELS = why_not(CPU)
IMPLEMENTATIONS = [
    False,
    pytest.param(True, marks=pytest.mark.skipif(NO_KERNELS is not None, reason=str(NO_KERNELS))),
]

# Runs that differ in algorithm and in every scalar.
SETTINGS: list[dict[str, Any]] = [
    {"algorithm": "adamw", "epsilon": 0.1, "lr_max": 0.05, "weight_decay": 0.01},
    {"algorithm": "adamw", "epsilon": 1e-8, "beta1": 0.5, "beta2": 0.99, "weight_decay_day": 0.2},
    {"algorithm": "adam", "epsilon": 1e-3, "weight_decay": 0.1, "weight_decay_bias": 0.05},
    {"algorithm": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay_day": 0.1},
    {"algorithm": "sgd", "momentum": 0.0, "weight_decay": 0.01, "lr_max": 0.02},
    {"algorithm": "adam", "beta1": 0.0, "update_absent_days": True, "weight_decay_day": 0.1},
    {"algorithm": "sgd", "momentum": 0.5, "update_absent_days": True, "lr_max_day": 0.001},
]


def make_config(settings: Mapping[str, Any]) -> OptimConfig:
    section = OptimConfig.model_validate({"lr_warmup_steps": 3, "lr_max": 0.01, **settings})
    return resolve(DecoderConfig(optim=section)).optim


CONFIGS = [make_config(settings) for settings in SETTINGS]


def make_model(n_runs: int) -> PackedDecoder:
    config = ModelConfig(n_units=5, n_layers=1, patch_size=2, patch_stride=2)
    return PackedDecoder(config, n_runs, n_days=3, n_features=4, n_classes=6, seed=0)


def stacked(
    model: PackedDecoder, configs: list[OptimConfig], kernels: bool, block: int = 32
) -> StackedOptimizer:
    return StackedOptimizer(
        configs, dict(model.named_parameters()), model.groups(), kernels, block=block
    )


def rates_at(step: int, configs: list[OptimConfig]) -> torch.Tensor:
    known = [learning_rates(config, step) for config in configs]
    return torch.tensor([[own[g] for g in GROUPS] for own in known], dtype=torch.float64)


def draw(model: PackedDecoder, step: int) -> dict[str, torch.Tensor]:
    """Gradients of a batch; the third day is in the batch of every fifth step, from the fourth."""
    source = torch.Generator().manual_seed(step)
    return {
        n: torch.randn(p.shape, generator=source)
        for n, p in model.named_parameters()
        if not (n.startswith("day_layer") and n.endswith(".2") and step % 5 != 4)
    }


class Reference:
    """One run's own optimizer of `torch.optim`, without its fused or multi-tensor kernels."""

    def __init__(self, model: PackedDecoder, row: int, config: OptimConfig) -> None:
        self.config, self.groups = config, model.groups()
        self.weights = {n: p.detach()[row].clone() for n, p in model.named_parameters()}
        decay = {
            "bias": config.weight_decay_bias,
            "day": config.weight_decay_day,
            "weight": config.weight_decay,
        }
        groups = [
            {"params": [p], "weight_decay": decay[self.groups[n]], "name": self.groups[n]}
            for n, p in self.weights.items()
        ]
        if config.algorithm == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                groups, momentum=config.momentum, nesterov=config.nesterov, foreach=False
            )
        else:
            algorithm = torch.optim.AdamW if config.algorithm == "adamw" else torch.optim.Adam
            betas = (config.beta1, config.beta2)
            self.optimizer = algorithm(groups, betas=betas, eps=config.epsilon, foreach=False)

    def step(self, gradients: Mapping[str, torch.Tensor], row: int, step: int, clip: float) -> None:
        rates = learning_rates(self.config, step)
        for settings in self.optimizer.param_groups:
            settings["lr"] = rates[settings["name"]]
        for n, p in self.weights.items():
            absent = self.config.update_absent_days and self.groups[n] == "day"
            p.grad = torch.zeros_like(p) if absent else None
            if n in gradients:
                p.grad = clip * gradients[n][row]
        self.optimizer.step()


def assert_close(got: torch.Tensor, expected: torch.Tensor, name: str) -> None:
    difference = (got - expected).double().norm() / expected.double().norm()
    assert float(difference) < 1e-6, name


@pytest.mark.parametrize("kernels", IMPLEMENTATIONS)
def test_every_run_updates_like_its_own_torch_optimizer_over_50_steps(kernels: bool) -> None:
    """Runs skip steps with gradients that are no numbers, and one day is absent in most steps."""
    chosen = [1, 2, 3, 5] if kernels else range(len(CONFIGS))  # the interpreter is slow
    configs = [CONFIGS[i] for i in chosen]
    model = make_model(len(configs))
    references = [Reference(model, row, config) for row, config in enumerate(configs)]
    ours = stacked(model, configs, kernels, block=128)
    clip = [1.0, 0.5, 0.3, 1.0, 0.7, 0.9, 0.2][: len(configs)]
    for step in range(50):
        gradients = draw(model, step)
        taken = [(step + 2 * row) % 7 > 0 for row in range(len(configs))]
        for row, reference in enumerate(references):
            if taken[row]:
                reference.step(gradients, row, step, clip[row])
            for gradient in gradients.values():
                gradient[row] = gradient[row] if taken[row] else float("nan")
        ours.step(gradients, rates_at(step, configs), torch.tensor(clip), torch.tensor(taken))
    for row, reference in enumerate(references):
        for n, p in model.named_parameters():
            assert_close(p.detach()[row], reference.weights[n], f"{configs[row]} {n}")


@pytest.mark.parametrize("kernels", IMPLEMENTATIONS)
def test_absent_days_are_not_touched_unless_a_run_updates_them(kernels: bool) -> None:
    model = make_model(len(CONFIGS))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    ours = stacked(model, CONFIGS, kernels)
    everything = torch.ones(len(CONFIGS))
    for step in (1, 2):  # both without the third day
        ours.step(draw(model, step), rates_at(step, CONFIGS), everything)
    assert model.day_layer is not None
    after = [p.detach() for p in model.day_layer.weights]
    for row, config in enumerate(CONFIGS):
        changed = [
            not torch.equal(before[f"day_layer.weights.{day}"][row], p[row])
            for day, p in enumerate(after)
        ]
        assert changed == [True, True, config.update_absent_days and config.weight_decay_day > 0]


@pytest.mark.parametrize("kernels", IMPLEMENTATIONS)
def test_a_skipped_step_leaves_weights_and_state_as_they_are(kernels: bool) -> None:
    model = make_model(len(CONFIGS))
    ours = stacked(model, CONFIGS, kernels)
    everything = torch.ones(len(CONFIGS))
    ours.step(draw(model, 4), rates_at(4, CONFIGS), everything)
    weights = [p.detach().clone() for p in model.parameters()]
    states = [copy.deepcopy(ours.state(row)) for row in range(len(CONFIGS))]
    broken = {n: g.fill_(float("inf")) for n, g in draw(model, 9).items()}
    nothing = torch.zeros(len(CONFIGS), dtype=torch.bool)
    ours.step(broken, rates_at(9, CONFIGS), everything, nothing)
    for p, old in zip(model.parameters(), weights, strict=True):
        assert torch.equal(p, old)
    for row, state in enumerate(states):
        after = ours.state(row)
        assert after.keys() == state.keys()
        assert all(torch.equal(after[name], state[name]) for name in state)


@pytest.mark.parametrize("kernels", IMPLEMENTATIONS)
def test_states_go_from_one_kind_of_optimizer_to_the_other_and_back(
    kernels: bool, tmp_path: Path
) -> None:
    """Three steps by each in turn equal nine by PyTorch's own, through checkpoints on disk."""
    model = make_model(len(CONFIGS))
    twin = copy.deepcopy(model)
    parameters = dict(model.named_parameters())

    def separate(of: PackedDecoder) -> optim.RunOptimizers:
        return optim.RunOptimizers(CONFIGS, dict(of.named_parameters()), of.groups())

    reference = separate(twin)
    everything = torch.ones(len(CONFIGS))
    states: list[dict[str, torch.Tensor]] = [{} for _ in CONFIGS]
    makers = [
        lambda: separate(model),
        lambda: stacked(model, CONFIGS, kernels),
        lambda: separate(model),
    ]
    for turn, make in enumerate(makers):
        ours: optim.PackOptimizer = make()
        for row, state in enumerate(states):
            ours.load_state(row, state)
        for step in range(3 * turn, 3 * turn + 3):
            ours.step(draw(model, step), rates_at(step, CONFIGS), everything)
            reference.step(draw(twin, step), rates_at(step, CONFIGS), everything)
        named = {f"{row}/{n}": t for row in range(len(CONFIGS)) for n, t in ours.state(row).items()}
        expected = {
            f"{row}/{n}": t for row in range(len(CONFIGS)) for n, t in reference.state(row).items()
        }
        assert {n: t.shape for n, t in named.items()} == {n: t.shape for n, t in expected.items()}
        assert {t.dtype for t in named.values()} == {torch.float32}
        save_checkpoint(tmp_path, turn, Checkpoint(named, {}))
        loaded, _ = load_newest(tmp_path)
        assert loaded is not None
        states = [
            {n.partition("/")[2]: t for n, t in loaded.tensors.items() if n.startswith(f"{row}/")}
            for row in range(len(CONFIGS))
        ]
    for n, p in twin.named_parameters():
        for row in range(len(CONFIGS)):
            assert_close(parameters[n].detach()[row], p.detach()[row], f"{SETTINGS[row]} {n}")


@pytest.mark.parametrize("kernels", [*IMPLEMENTATIONS, None])
def test_a_frozen_part_is_neither_updated_nor_decayed_and_the_others_move_as_without_it(
    kernels: bool | None,
) -> None:
    """None stands for one optimizer a run, as on a CPU. Norms leave the frozen parts out."""
    frozen = [("day",), ("layers",), ("head",), ("day", "head"), (), ("layers",), ("day",)]
    configs = [
        config.model_copy(update={"frozen": parts})
        for config, parts in zip(CONFIGS, frozen, strict=True)
    ]
    model, free = make_model(len(configs)), make_model(len(configs))
    parts = model.model_parts()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def optimizer(of: PackedDecoder, configs: list[OptimConfig]) -> optim.PackOptimizer:
        parameters, groups = dict(of.named_parameters()), of.groups()
        if kernels is None:
            return optim.RunOptimizers(configs, parameters, groups, parts)
        return StackedOptimizer(configs, parameters, groups, kernels, block=32, parts=parts)

    ours, theirs = optimizer(model, configs), optimizer(free, CONFIGS)
    clip = torch.full((len(configs),), 0.5)
    for step in range(4):
        gradients, of_free = draw(model, step), draw(free, step)
        optim.clear_frozen(gradients, configs, parts)
        norms = ours.norms(gradients)
        for row, config in enumerate(configs):
            kept = [g[row] for n, g in of_free.items() if parts[n] not in config.frozen]
            assert norms[row] == pytest.approx(float(torch.cat([g.flatten() for g in kept]).norm()))
        ours.step(gradients, rates_at(step, configs), clip.clone())
        theirs.step(of_free, rates_at(step, configs), clip.clone())
    for name, value in model.named_parameters():
        expected = free.get_parameter(name).detach()
        for row, config in enumerate(configs):
            if parts[name] in config.frozen:
                assert torch.equal(value.detach()[row], before[name][row]), (name, row)
            else:
                assert torch.equal(value.detach()[row], expected[row]), (name, row)


@pytest.mark.parametrize("kernels", IMPLEMENTATIONS)
def test_runs_that_stay_continue_as_if_the_others_had_never_been(kernels: bool) -> None:
    kept = [6, 3, 4]
    model, alone = make_model(len(CONFIGS)), make_model(len(kept))
    chosen = [CONFIGS[row] for row in kept]
    ours, expected = stacked(model, CONFIGS, kernels), stacked(alone, chosen, kernels)
    for step in range(4):
        rows = kept if step < 2 else [0, 1, 2]
        if step == 2:
            model.keep_runs(kept)
            ours.keep_runs(kept)
        configs = CONFIGS if step < 2 else chosen
        gradients = draw(model, step)
        ours.step(gradients, rates_at(step, configs), torch.ones(len(configs)))
        own = {n: g[rows] for n, g in gradients.items()}
        expected.step(own, rates_at(step, chosen), torch.ones(len(chosen)))
    for p, q in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.skipif(NO_KERNELS is not None, reason=str(NO_KERNELS))
@pytest.mark.parametrize("block", [16, 128])
def test_the_kernel_of_norms_equals_torch(block: int) -> None:
    model = make_model(len(CONFIGS))
    gradients = draw(model, 3)
    gradients["head.bias"][1] = float("nan")
    got = stacked(model, CONFIGS, kernels=True, block=block).norms(gradients)
    expected = optim.gradient_norms(gradients)
    assert got.isnan().tolist() == [row == 1 for row in range(len(CONFIGS))]
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.filterwarnings("ignore:overflow")  # of Triton's interpreter
def test_the_norm_of_an_overflowing_gradient_is_infinite_in_both_implementations() -> None:
    model = make_model(1)
    gradients = draw(model, 3)
    gradients["head.weight"].fill_(1e30)
    for kernels in (False, True) if NO_KERNELS is None else (False,):
        assert stacked(model, CONFIGS[:1], kernels).norms(gradients).tolist() == [float("inf")]


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from decoder.optim_kernels import square_sums, update
for kernel, pointers, numbers in (
    (update, {"table": "*i64", "coefficients": "*fp32"}, {"K": 13}),
    (square_sums, {"table": "*i64", "sums": "*fp32"}, {}),
):
    for unit in (1, 4):
        fixed = {"N": 64, "COLUMNS": 7, "BLOCK": 2048, "UNIT": unit, **numbers}
        types = {n: "constexpr" if n in fixed else pointers.get(n, "i32") for n in kernel.arg_names}
        places = {(kernel.arg_names.index(n),): value for n, value in fixed.items()}
        for capability in (80, 90):
            target = GPUTarget("cuda", capability, 32)
            built = triton.compile(ASTSource(kernel, types, places), target=target)
            assert built.asm["cubin"]
            print(kernel.__name__, unit, capability, built.asm["ptx"].count("ld.global.v4"))
"""


@pytest.mark.skipif(NO_KERNELS is not None, reason=str(NO_KERNELS))
def test_the_kernels_compile_for_gpus_and_read_four_aligned_values_at_once(tmp_path: Path) -> None:
    printed = compile_kernels(COMPILE, tmp_path)
    lines = [line.split() for line in printed.splitlines()]
    assert len(lines) == 8
    for _, unit, _, n_wide_loads in lines:
        assert (int(n_wide_loads) > 0) == (unit == "4")
