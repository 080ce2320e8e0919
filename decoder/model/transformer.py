"""A transformer encoder over R runs: patch embedding, self-attention, feed-forward.

Follows ``BiT_Phoneme`` of transformers_with_dietcorp (Feghhi et al. 2025, "Time-masked
transformers with lightweight test-time adaptation for neural speech decoding"): layer norms before
each half of a layer and after the last layer; no bias on queries, keys and values; positions
either as one learned bias for each distance between two patches, shared by the heads of a layer,
or as sinusoids. Attention is causal there; here it can also look ahead. Attention never reads
padding, so the output for a trial does not depend on its batch.

Dimensions: R runs, P patches, B batch, D inputs, H units, A heads, K units of a head.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from decoder.model.dropout import DropoutPlan
from decoder.model.inputs import LayerInput
from decoder.model.layers import LayerNorm, Linear, drop, repeat
from decoder.sections import ModelConfig

# Patches that are further apart share one bias; ``max_rel_dist`` of the published code.
MAX_DISTANCE = 199


class PatchEmbedding(nn.Module):
    """The embedding of patches: layer norm, linear map, layer norm, dropout, and sinusoids."""

    def __init__(
        self, config: ModelConfig, n_runs: int, n_inputs: int, source: torch.Generator
    ) -> None:
        super().__init__()
        self.position = config.position
        self.norm_in = LayerNorm(n_runs, n_inputs)
        self.linear = Linear(n_runs, n_inputs, config.n_units, source)
        self.norm_out = LayerNorm(n_runs, config.n_units)

    def forward(self, source: LayerInput, dropout: DropoutPlan | None) -> Tensor:
        """Patches (R, P, B, D) → (R, P, B, H)."""
        x = drop(self.norm_out(self.linear(self.norm_in(source.dense()))), dropout, "input_dropout")
        if self.position == "sinusoidal":
            x = x + sinusoids(x.shape[1], x.shape[-1]).to(x)[:, None]
        return x


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward, each with a residual connection."""

    def __init__(self, config: ModelConfig, n_runs: int, source: torch.Generator) -> None:
        super().__init__()
        H, n_inner = config.n_units, config.n_heads * config.head_units
        self.n_heads = config.n_heads
        self.attention_norm = LayerNorm(n_runs, H)
        self.qkv = Linear(n_runs, H, 3 * n_inner, source, bias=False)
        self.out = Linear(n_runs, n_inner, H, source)
        self.distance_bias: nn.Parameter | None = None
        if config.position == "relative":
            bias = torch.randn(2 * MAX_DISTANCE + 1, generator=source)
            self.distance_bias = repeat(bias, n_runs)
        self.ff_norm = LayerNorm(n_runs, H)
        self.ff_in = Linear(n_runs, H, config.ff_ratio * H, source)
        self.ff_out = Linear(n_runs, config.ff_ratio * H, H, source)

    def forward(
        self, x: Tensor, allowed: Tensor, dropout: DropoutPlan | None, place: str
    ) -> Tensor:
        """One layer.

        Args:
            x: (R, P, B, H).
            allowed: (B, 1, P, P) bool, whether a patch (row) may attend to another (column).
            dropout: the masks of the step; None means no dropout.
            place: the number of the layer, which names its masks.

        Returns:
            (R, P, B, H).
        """

        def dropped(y: Tensor, what: str) -> Tensor:
            return drop(y, dropout, "transformer_dropout", f"{place}/{what}")

        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = qkv.permute(3, 0, 2, 4, 1, 5)  # each (R, B, A, P, K)
        scores = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).float()  # (R, B, A, P, P)
        if self.distance_bias is not None:
            bias = self.distance_bias[:, distances(x.shape[1], x.device)]  # (R, P, P)
            scores = scores + bias[:, None, None]
        weights = scores.masked_fill(~allowed, -math.inf).softmax(-1).to(v.dtype)
        seen = dropped(weights, "weights") @ v
        seen = seen.permute(0, 3, 1, 2, 4).flatten(3)  # (R, P, B, A K)
        x = x + dropped(self.out(seen), "attention")
        inner = dropped(nn.functional.gelu(self.ff_in(self.ff_norm(x))), "inner")
        return x + dropped(self.ff_out(inner), "feed_forward")


def transformer_states(
    layers: Sequence[TransformerLayer],
    x: Tensor,
    n_patches: Tensor | None,
    bidirectional: bool,
    dropout: DropoutPlan | None,
) -> list[Tensor]:
    """The output of every layer, before the last norm.

    Args:
        layers: at least one.
        x: (R, P, B, H) embedded patches.
        n_patches: (B,) valid patches of each trial; None means that all are valid.
        bidirectional: whether a patch attends to later ones.
        dropout: the masks of the step; None means no dropout.

    Returns:
        For each layer (R, P, B, H).
    """
    P, B = x.shape[1:3]
    patch = torch.arange(P, device=x.device)
    allowed = torch.ones(B, 1, P, P, dtype=torch.bool, device=x.device)
    if n_patches is not None:  # a trial without a valid patch attends to its first one
        allowed &= (patch < n_patches.clip(min=1)[:, None])[:, None, None]
    if not bidirectional:
        allowed &= patch[:, None] >= patch
    states = []
    for i, layer in enumerate(layers):
        x = layer(x, allowed, dropout, str(i))
        states.append(x)
    return states


def distances(n_patches: int, device: torch.device | None = None) -> Tensor:
    """(P, P) int64 index of the bias for each pair: row minus column, clipped, starting at 0."""
    patch = torch.arange(n_patches, device=device)
    return (patch[:, None] - patch).clip(-MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE


def sinusoids(n_patches: int, n_units: int) -> Tensor:
    """(P, H) sines (even columns) and cosines (odd columns) of Vaswani et al. 2017."""
    rates = torch.exp(torch.arange(0, n_units, 2) * (-math.log(10000.0) / n_units))
    angles = torch.arange(n_patches)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :n_units]
