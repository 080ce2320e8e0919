"""Words of other trainers for the fields of a configuration."""

import re
from collections.abc import Mapping
from typing import Any

# Last part of a path that other trainers use → the config path.
PATHS: Mapping[str, str] = {
    word: path
    for path, words in {
        "model.n_units": "width hidden hidden_size hidden_dim n_hidden units dim d_model",
        "model.n_layers": "layers num_layers depth",
        "model.rnn_dropout": "dropout",
        "optim.lr_max": "lr learning_rate rate base_lr peak_lr",
        "optim.epsilon": "eps adam_eps",
        "optim.algorithm": "optimizer optimiser opt",
        "optim.grad_clip": "clip clip_norm max_grad_norm gradient_clip grad_norm_clip",
        "optim.lr_warmup_steps": "warmup warmup_steps",
        "train.n_steps": "steps n_epochs epochs max_steps num_steps iterations n_batches",
        "data.batch_size": "batch bs",
        "data.path": "dataset data_path dataset_path data_dir",
        "augment.white_noise_std": "noise noise_std white_noise",
        "augment.smooth_std_bins": "smoothing sigma smooth_std",
    }.items()
    for word in words.split()
}


def meant(word: Any, words: Mapping[str, str]) -> str:
    """``; write x`` for a word with a known meaning, else nothing."""
    meaning = words.get(re.sub(r"[\s-]+", "_", str(word).strip()).lower())
    return f"; write {meaning}" if meaning else ""


def field_hint(name: str) -> str:
    """``; write x`` for another trainer's name of a config path; nothing for a field's own name."""
    own = {path.rpartition(".")[2] for path in PATHS.values()}
    return "" if name in own else meant(name, PATHS)
