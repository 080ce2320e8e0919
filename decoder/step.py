"""One optimizer step of a pack: the gradients of its batches, and the update of its weights.

Dimensions: R runs, B batch, T bins, P patches, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoder import optim
from decoder.augment import augment_batch
from decoder.config import DecoderConfig
from decoder.data.alignment import n_patches, output_lengths
from decoder.data.batches import Batch
from decoder.data.trials import Batches
from decoder.host import constant, send
from decoder.life import show_sign
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.dropout import DropoutPlan
from decoder.model.patch_mask import draw_patch_mask
from decoder.model.precision import autocast
from decoder.objective import LabelPrior, training_losses
from decoder.optim import GROUPS
from decoder.part_calls import augment_by_parts, losses_of_parts
from decoder.schedules import learning_rates
from decoder.state import PackState


def step_gradients(
    state: PackState, batches: Batches, seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Training losses and gradients of every run at this step, averaged over its batches.

    Batches are numbered through all steps, and the number of a batch decides its draws.

    Args:
        state: the pack; its weights are not changed.
        batches: of the pack.
        seed: the pack's seed.

    Returns:
        (R,) losses, and name → (R, ...) gradients of the parameters that have one. Those of
        frozen parts are zero.
    """
    n_batches = state.runs[0].config.optim.accumulation_steps
    first = state.step * n_batches
    losses, gradients = _one_batch(state, batches, seed, first)
    for index in range(first + 1, first + n_batches):
        more_losses, more_gradients = _one_batch(state, batches, seed, index)
        losses += more_losses
        for name, gradient in more_gradients.items():
            gradients[name] = gradients[name] + gradient if name in gradients else gradient
    if n_batches > 1:
        losses /= n_batches
        gradients = {name: gradient / n_batches for name, gradient in gradients.items()}
    configs = [config.optim for config in state.configs]
    if any(config.frozen for config in configs):
        optim.clear_frozen(gradients, configs, state.model.model_parts())
    return losses, gradients


def _one_batch(
    state: PackState, batches: Batches, seed: int, index: int
) -> tuple[Tensor, dict[str, Tensor]]:
    batch = batches.draw(seed, index).to(state.device, non_blocking=state.device.type == "cuda")
    show_sign()
    return forward_backward(state.model, state.configs, batch, seed, index, state.label_prior)


def forward_backward(
    model: PackedDecoder,
    configs: Sequence[DecoderConfig],
    batch: Batch,
    seed: int,
    step: int,
    label_prior: LabelPrior | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Training loss and gradients of every run for one batch.

    Args:
        model: R decoders; their old gradients are dropped.
        configs: one for each run; only fields marked ``PER_RUN`` may differ.
        batch: ordered by day, on the model's device.
        seed: the pack's seed.
        step: the number of the batch. Seed and step decide every draw.
        label_prior: used, then updated with the posteriors of this batch; None if no run has
            ``loss.label_prior_weight``.

    Returns:
        (R,) losses, and name → (R, ...) gradients of the parameters that have one.
    """
    model_config, device = configs[0].model, batch.features.device
    dropout = DropoutPlan([c.model for c in configs], seed, step, device)
    augment = [c.augment for c in configs]
    precision = configs[0].train.precision
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    x, cut = augment_batch(batch.features, batch.n_bins, augment, seed, step, dtype)
    x = augment_by_parts(x, batch.n_bins - cut, model.used, seed, step)
    lengths = output_lengths(batch.n_bins - cut, model_config)
    longest = n_patches(x.shape[2], model_config.patch_size, model_config.patch_stride)
    hidden = draw_patch_mask(lengths, longest, augment, seed, step)
    given = lengths  # attention masks on the device what recurrent layers leave out on the host
    if model_config.architecture != "transformer":
        given = output_lengths(batch.sizes.n_bins - cut, model_config)
    days = day_slices(batch.sizes.day)
    with autocast(precision, device):
        output = model(x, days, dropout, n_patches=given, hidden=hidden, n_bins=batch.n_bins - cut)

    targets = (batch.labels, lengths, batch.n_labels, [c.loss for c in configs])
    prior = None if label_prior is None else label_prior.mean
    per_run = training_losses(output.logits, *targets, prior)
    if output.intermediate:
        share = constant(tuple(c.loss.inter_ctc_weight for c in configs), device)
        intermediate = [training_losses(logits, *targets) for logits in output.intermediate]
        per_run = (1 - share) * per_run + share * torch.stack(intermediate).mean(0)
    terms = losses_of_parts(output.logits, batch.labels, lengths, batch.n_labels, model.used)
    per_run = per_run if terms is None else per_run + terms
    if label_prior is not None:
        label_prior.update(output.logits, lengths)
    show_sign()
    model.zero_grad(set_to_none=True)
    per_run.sum().backward()  # runs do not mix: each row gets the gradient of its own loss
    return per_run.detach(), optim.gradients_of(model)


def update_weights(
    state: PackState,
    gradients: dict[str, Tensor],
    losses: Tensor,
    norms: Tensor,
    taken: Tensor | None = None,
) -> tuple[Tensor, list[float]]:
    """Clip the gradients, step every optimizer, and add the step to the running sums.

    Args:
        state: the pack; its weights, averages and sums are changed, its step counter is not.
        gradients: name → (R, ...), may be scaled in place.
        losses: (R,).
        norms: (R,) gradient norms before clipping.
        taken: (R,) bool, whether a run takes the step; None means that all do.

    Returns:
        (R,) gradient norms after clipping, 0 where a step was skipped; and R learning rates.
    """
    known = norms if taken is None else norms.masked_fill(~taken, float("nan"))
    state.grad_norms[:, state.step] = known
    if taken is not None:
        losses, norms = losses.masked_fill(~taken, 0.0), norms.masked_fill(~taken, 0.0)
    factors = optim.clip_factors(norms, [run.config.optim.grad_clip for run in state.runs])
    scheduled = [
        learning_rates(run.config.optim, state.step, state.histories[run.run_id])
        for run in state.runs
    ]
    rates = send([[own[group] for group in GROUPS] for own in scheduled], state.sums.learning_dose)
    state.optimizer.step(gradients, rates, factors, taken)
    state.average(taken)
    state.sums.add(losses, norms, factors, rates[:, GROUPS.index("weight")], taken)
    return norms * factors, [own["weight"] for own in scheduled]
