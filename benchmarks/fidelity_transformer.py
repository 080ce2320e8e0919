"""Compares our transformer with the published one, on equal weights and trials.

    OMP_NUM_THREADS=1 python benchmarks/fidelity_transformer.py --published PATH/TO/src

`PATH/TO/src` holds the package ``neural_decoder`` of
github.com/ebrahimfeghhi/transformers_with_dietcorp, which needs einops. The script compares logits,
gradients and the number of parameters with both kinds of position, and the fraction of patches that
the time masks hide. No code is copied.
"""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.patch_mask import draw_patch_mask
from decoder.sections import AugmentConfig, ModelConfig
from decoder.smoothing import smooth_batch

N_FEATURES, N_UNITS, N_LAYERS, N_CLASSES = 16, 24, 3, 41
AUGMENT = AugmentConfig(smooth_size_bins=20, smooth_taps="all", patch_mask_max_share=0.075)

# Ours → theirs; the layers' are in `their_names`.
NAMES = {
    "embedding.norm_in": "to_patch_embedding.1",
    "embedding.linear": "to_patch_embedding.2",
    "embedding.norm_out": "to_patch_embedding.3",
    "last_norm": "transformer.norm",
    "head": "projection",
}
LAYER_NAMES = {
    "attention_norm": "0.norm",
    "qkv": "0.to_qkv",
    "out": "0.to_out.0",
    "ff_norm": "1.net.0",
    "ff_in": "1.net.1",
    "ff_out": "1.net.4",
}


def make_published(published: ModuleType, relative: bool) -> Any:
    """A small model of theirs, in training mode without dropout or masks."""
    model = published.BiT_Phoneme(
        patch_size=(5, N_FEATURES),
        dim=N_UNITS,
        dim_head=8,
        nClasses=N_CLASSES - 1,
        depth=N_LAYERS,
        heads=2,
        mlp_dim_ratio=4,
        dropout=0.0,
        input_dropout=0.0,
        gaussianSmoothWidth=2.0,
        T5_style_pos=relative,
        max_mask_pct=AUGMENT.patch_mask_max_share,
        num_masks=AUGMENT.patch_mask_count,
        mask_token_zeros=False,
        num_masks_channels=0,
        max_mask_channels=0,
        dist_dict_path="",
    )
    return model.eval()


def make_ours(relative: bool) -> PackedDecoder:
    """Our model of the same size, with two runs."""
    config = ModelConfig(
        architecture="transformer",
        n_units=N_UNITS,
        n_layers=N_LAYERS,
        n_heads=2,
        head_units=8,
        patch_size=5,
        patch_stride=5,
        day_layer="none",
        head_init="uniform",
        mask_token="learned",
        position="relative" if relative else "sinusoidal",
    )
    return PackedDecoder(config, 2, 1, N_FEATURES, N_CLASSES, seed=0)


def their_name(name: str) -> str:
    """The published name of one of our parameters."""
    if name == "mask_token":
        return name
    if name.endswith("distance_bias"):
        return f"transformer.layers.{name.split('.')[1]}.0.rel_pos_bias.weight"
    stem, _, leaf = name.rpartition(".")
    if stem in NAMES:
        return f"{NAMES[stem]}.{leaf}"
    _, layer, part = stem.split(".")
    return f"transformer.layers.{layer}.{LAYER_NAMES[part]}.{leaf}"


def compare(published: ModuleType, relative: bool) -> tuple[float, float, int]:
    """Largest difference of logits, largest relative difference of gradients, and of parameters."""
    theirs, ours = make_published(published, relative), make_ours(relative)
    parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(parameters[their_name(name)].view_as(parameter[0]).expand_as(parameter))
    x = torch.randn(3, 1100, N_FEATURES, generator=torch.Generator().manual_seed(0))
    expected = theirs(x, torch.tensor([1100, 1100, 1100])).transpose(0, 1)
    smoothed = smooth_batch(x, AUGMENT).expand(2, -1, -1, -1)
    got = ours(smoothed, day_slices(torch.zeros(3, dtype=torch.int64))).logits[1]
    expected.square().sum().backward()
    got.square().sum().backward()
    worst = 0.0
    for name, parameter in ours.named_parameters():
        reference = parameters[their_name(name)].grad
        if reference is not None:
            gradient = parameter.grad[1].view_as(reference)  # type: ignore[index]
            worst = max(worst, float((gradient - reference).norm() / reference.norm()))
    n_theirs = sum(p.numel() for p in parameters.values())
    return float((got - expected).detach().abs().max()), worst, abs(ours.n_parameters() - n_theirs)


def hidden_shares(published: ModuleType, n_draws: int) -> tuple[Tensor, Tensor]:
    """Mean fraction of patches that masks hide for three lengths, theirs and ours; each (3,)."""
    n_bins = torch.tensor([1100, 700, 300])
    theirs = make_published(published, relative=True)
    patches = torch.zeros(3, 220, 5 * N_FEATURES)
    torch.manual_seed(0)
    masks = [theirs.apply_time_mask(patches, n_bins)[1].sum(1) for _ in range(n_draws)]
    ours = [draw_patch_mask(n_bins // 5, 220, [AUGMENT], 0, step) for step in range(n_draws)]
    hidden = [mask[0].sum(0) for mask in ours if mask is not None]
    theirs_hidden, ours_hidden = torch.stack(masks).double(), torch.stack(hidden).double()
    return theirs_hidden.mean(0) / (n_bins // 5), ours_hidden.mean(0) / (n_bins // 5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, required=True)
    sys.path.insert(0, str(parser.parse_args().published))
    published = importlib.import_module("neural_decoder.bit")
    torch.set_num_threads(1)
    failed = False
    for relative in (True, False):
        logits, gradients, n_parameters = compare(published, relative)
        failed |= logits > 1e-5 or gradients > 1e-4 or n_parameters > 0
        kind = "relative" if relative else "sinusoidal"
        print(
            f"{kind:10s}  logits {logits:.2g}  gradients {gradients:.2g}  parameters {n_parameters}"
        )
    theirs, ours = hidden_shares(published, 2000)
    failed |= bool((theirs - ours).abs().max() > 0.02)
    print(f"share of patches hidden: theirs {theirs.tolist()}, ours {ours.tolist()}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
