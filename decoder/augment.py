"""Training-time augmentation of a batch, for all runs of a pack at once.

Every augmentation but the cut is linear in its strength, and smoothing is linear too. So each
random component is drawn and smoothed once, at strength 1, and a run's input is a weighted sum
of the smoothed trials and components. Order as in the official T15 trainer
(nejm-brain-to-text, ``transform_data``): gain, white noise, constant offset, random walk, cut,
smoothing.

Dimensions: R runs, B batch, T bins, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.config import AugmentConfig
from decoder.seeding import generator
from decoder.smoothing import smooth_batch


def augment_batch(
    features: Tensor, configs: Sequence[AugmentConfig], seed: int, step: int
) -> tuple[Tensor, int]:
    """The training input of every run of a pack.

    Args:
        features: (B, T, F) zero padded trials.
        configs: one section a run; only the strengths may differ.
        seed: the pack's seed.
        step: the optimizer step, which with the seed decides every draw.

    Returns:
        (R, B, T - cut, F), and the number of bins cut off the front of every trial.
    """
    shared = configs[0]
    device = features.device.type
    B, T, F = features.shape
    components = [features]
    strengths = [[1.0] * len(configs)]

    def normal(purpose: str, *shape: int) -> Tensor:
        source = generator(seed, purpose, step, device)
        return torch.randn(shape, generator=source, device=features.device)

    def add(component: Tensor, strength: list[float]) -> None:
        components.append(component)
        strengths.append(strength)

    gains = [c.static_gain_std for c in configs]
    if any(gains):
        add(features @ normal("static_gain", B, F, F), gains)
    whites = [c.white_noise_std for c in configs]
    if any(whites):
        add(normal("white_noise", B, T, F), whites)
    offsets = [c.constant_offset_std for c in configs]
    if any(offsets):
        add(normal("constant_offset", B, 1, F).expand(B, T, F), offsets)
    walks = [c.random_walk_std for c in configs]
    if any(walks):
        axis = -1 if shared.random_walk_axis == "features" else -2
        add(normal("random_walk", B, T, F).cumsum(axis), walks)

    cut = 0
    if shared.random_cut:
        source = generator(seed, "random_cut", step)
        cut = int(torch.randint(shared.random_cut, (), generator=source))
    parts = torch.stack([component[:, cut:] for component in components])  # (N, B, T - cut, F)
    parts = smooth_batch(parts, shared)
    weights = torch.tensor(strengths, device=features.device).T  # (R, N)
    return (weights @ parts.flatten(1)).view(len(configs), *parts.shape[1:]), cut
