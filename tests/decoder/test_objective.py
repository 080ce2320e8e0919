"""Training losses, compared with sums over alignments, formulas and numerical gradients."""

import itertools
import math
from typing import Any

import pytest
import torch

from decoder.config import DecoderConfig, parse_config
from decoder.ctc import ctc_losses, greedy_decode, reduce_losses
from decoder.errors import ConfigError
from decoder.objective import (
    MIN_PRIOR,
    PRIOR_DECAY,
    LabelPrior,
    divergence_from_uniform,
    focal_factors,
    training_losses,
)
from decoder.training_sections import LossConfig

R, P, B, C = 2, 4, 3, 3
LABELS = torch.tensor([[1, 2], [1, 1], [2, 0]])
N_PATCHES = torch.tensor([4, 4, 2])
N_LABELS = torch.tensor([2, 2, 1])


def make_logits() -> torch.Tensor:
    logits = torch.randn(R, P, B, C, generator=torch.Generator().manual_seed(0))
    return logits.requires_grad_()


def loss_config(**fields: Any) -> LossConfig:
    return LossConfig.model_validate(fields)


def losses_of(
    logits: torch.Tensor, *configs: LossConfig, prior: torch.Tensor | None = None
) -> torch.Tensor:
    return training_losses(logits, LABELS, N_PATCHES, N_LABELS, configs, prior)


def brute_force(scores: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """Minus the log of the sum over every alignment of `labels` in scores (P, C)."""
    paths = list(itertools.product(range(C), repeat=len(scores)))
    decoded = greedy_decode(torch.tensor(paths), torch.full((len(paths),), len(scores)))
    sums = [
        torch.stack([scores[p, c] for p, c in enumerate(path)]).sum()
        for path, sequence in zip(paths, decoded, strict=True)
        if sequence == labels
    ]
    return -torch.logsumexp(torch.stack(sums), 0)


def test_plain_settings_are_plain_ctc_bit_for_bit() -> None:
    logits = make_logits()
    log_probs = logits.log_softmax(-1)
    plain = ctc_losses(log_probs, LABELS, N_PATCHES, N_LABELS, False)
    expected = reduce_losses(plain, N_LABELS, ["mean", "none_then_mean"])
    got = losses_of(logits, loss_config(ctc_reduction="mean"), LossConfig())
    assert torch.equal(got, expected)


def test_a_label_prior_is_subtracted_from_the_scores_of_every_alignment() -> None:
    """Loss and gradient equal a sum over alignments; torch's own gradient would be wrong."""
    logits = make_logits()
    prior = torch.tensor([[0.9, 0.06, 0.04], [0.2, 0.5, 0.3]])
    weights = [0.0, 0.7]
    configs = [loss_config(label_prior_weight=weight) for weight in weights]
    losses = losses_of(logits, *configs, prior=prior)
    for row, weight in enumerate(weights):
        scores = logits[row].log_softmax(-1) - weight * prior[row].log()  # (P, B, C)
        expected = torch.stack(
            [
                brute_force(scores[: N_PATCHES[b], b], LABELS[b, : N_LABELS[b]].tolist())
                for b in range(B)
            ]
        ).mean()
        torch.testing.assert_close(losses[row], expected)
        [gradient] = torch.autograd.grad(losses[row], logits, retain_graph=True)
        [expected_gradient] = torch.autograd.grad(expected, logits)
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-4)


def test_label_priors_push_towards_classes_that_are_rare() -> None:
    logits = torch.zeros(1, P, B, C, requires_grad=True)
    prior = torch.tensor([[0.98, 0.01, 0.01]])
    config = loss_config(label_prior_weight=1.0)
    [with_prior] = torch.autograd.grad(losses_of(logits, config, prior=prior), logits)
    [plain] = torch.autograd.grad(losses_of(logits, LossConfig()), logits)
    valid = torch.arange(P)[:, None] < N_PATCHES
    assert bool((with_prior[0, ..., 0][valid] > plain[0, ..., 0][valid]).all())


def test_the_running_prior_averages_posteriors_over_valid_patches() -> None:
    logits = make_logits().detach()
    prior = LabelPrior(R, C, logits.device)
    torch.testing.assert_close(prior.mean, torch.full((R, C), 1 / 3))
    prior.update(logits, N_PATCHES)
    frames = [logits[:, p, b].softmax(-1) for b in range(B) for p in range(int(N_PATCHES[b]))]
    expected = PRIOR_DECAY / 3 + (1 - PRIOR_DECAY) * torch.stack(frames).mean(0)
    torch.testing.assert_close(prior.mean, expected)
    torch.testing.assert_close(prior.mean.sum(1), torch.ones(R))
    logits[1] = math.nan
    prior.update(logits, N_PATCHES)
    torch.testing.assert_close(prior.mean[1], expected[1])
    assert not torch.equal(prior.mean[0], expected[0])
    prior.keep_runs([1])
    torch.testing.assert_close(prior.mean, expected[1:])


def test_a_class_that_never_occurs_has_a_finite_prior() -> None:
    prior = torch.tensor([[1.0, 0.0, 0.0]])
    losses = losses_of(make_logits()[:1], loss_config(label_prior_weight=1.0), prior=prior)
    assert losses.isfinite().all() and losses.item() < math.log(MIN_PRIOR) / 2


def test_label_smoothing_mixes_ctc_with_the_divergence_from_uniform() -> None:
    logits = make_logits()
    got = losses_of(logits, loss_config(label_smoothing=0.25), LossConfig())
    plain = losses_of(logits, LossConfig(), LossConfig())
    posterior = logits[0].softmax(-1)
    uniform = torch.full((C,), 1 / C)
    divergence = torch.stack(
        [
            sum(
                torch.nn.functional.kl_div(uniform.log(), posterior[p, b], reduction="sum")
                for p in range(int(N_PATCHES[b]))
            )
            for b in range(B)
        ]
    ).mean()
    torch.testing.assert_close(got[0], 0.75 * plain[0] + 0.25 * divergence)
    assert got[1] == plain[1]


def test_uniform_posteriors_are_not_penalised_and_certain_ones_most() -> None:
    flat, peaked = torch.zeros(1, P, B, C), torch.zeros(1, P, B, C)
    peaked[..., 0] = 50.0
    torch.testing.assert_close(
        divergence_from_uniform(flat.log_softmax(-1), N_PATCHES), torch.zeros(1, B)
    )
    torch.testing.assert_close(
        divergence_from_uniform(peaked.log_softmax(-1), N_PATCHES), math.log(C) * N_PATCHES[None]
    )


def test_the_focal_factor_by_hand() -> None:
    """Two labels with a loss of ln 4 nats: the posterior of each is one half."""
    losses = torch.tensor([[math.log(4.0), 0.0, 200.0]]).repeat(3, 1)
    factors = focal_factors(losses, torch.tensor([2, 3, 1]), [0.0, 1.0, 2.0])
    expected = torch.tensor([[1.0, 1.0, 1.0], [0.5, 1e-6, 1.0], [0.25, 1e-12, 1.0]])
    torch.testing.assert_close(factors, expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_ctc_has_the_gradient_of_its_formula(gamma: float) -> None:
    logits = make_logits()
    [loss] = losses_of(logits[:1], loss_config(focal_gamma=gamma))
    plain = ctc_losses(logits[:1].log_softmax(-1), LABELS, N_PATCHES, N_LABELS, False)[0]
    p = torch.exp(-plain / N_LABELS)
    expected = ((1 - p) ** gamma * plain).mean()
    torch.testing.assert_close(loss, expected)
    [gradient] = torch.autograd.grad(loss, logits, retain_graph=True)
    [expected_gradient] = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-4)


def test_a_trial_that_is_recognised_with_certainty_has_a_finite_gradient() -> None:
    logits = torch.full((1, P, B, C), -60.0)
    for b, path in enumerate([[1, 1, 2, 2], [1, 0, 1, 0], [2, 2, 0, 0]]):
        logits[0, range(P), b, path] = 60.0
    logits.requires_grad_()
    losses_of(logits, loss_config(focal_gamma=0.5)).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize(
    "config", [{"label_smoothing": 0.5}, {"focal_gamma": 0.5}, {"label_prior_weight": 0.5}]
)
def test_a_trial_without_an_alignment_has_no_gradient_with_zero_infinity(
    config: dict[str, float],
) -> None:
    logits = make_logits()
    labels, n_labels = torch.tensor([[1, 2], [1, 1], [2, 2]]), torch.tensor([2, 2, 2])
    configs = [loss_config(zero_infinity=True, **config)] * R  # the last trial has two patches
    prior = torch.full((R, C), 1 / 3) if "label_prior_weight" in config else None
    losses = training_losses(logits, labels, N_PATCHES, n_labels, configs, prior)
    without = training_losses(
        logits[:, :, :2], labels[:2], N_PATCHES[:2], n_labels[:2], configs, prior
    )
    torch.testing.assert_close(losses, without * 2 / 3)
    [gradient] = torch.autograd.grad(losses.sum(), logits)
    assert bool((gradient[:, :, 2] == 0).all()) and bool((gradient[:, :, :2] != 0).any())


def test_a_run_has_the_same_loss_alone_and_in_a_pack() -> None:
    logits, prior = make_logits().repeat(2, 1, 1, 1), torch.tensor([[0.5, 0.3, 0.2]] * 4)
    configs = [
        loss_config(label_smoothing=0.1),
        loss_config(focal_gamma=2.0, ctc_reduction="mean"),
        loss_config(label_prior_weight=0.5),
        LossConfig(),
    ]
    together = losses_of(logits, *configs, prior=prior)
    for row, config in enumerate(configs):
        own = prior[row : row + 1] if config.label_prior_weight else None
        alone = losses_of(logits[row : row + 1], config, prior=own)
        torch.testing.assert_close(together[row : row + 1], alone)


def test_focal_weights_and_label_priors_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="set one of them to 0"):
        parse_config({"loss": {"focal_gamma": 1.0, "label_prior_weight": 0.1}}, "x")
    assert DecoderConfig().loss == LossConfig()
