"""Decides what a key of a fork means: a known spelling, a label, or a change of training.

What changes training and cannot be said here is never passed over: it is unsupported until the user
leaves it out.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from decoder.complaints import did_you_mean
from decoder.config import DecoderConfig, config_paths, flatten
from decoder.import_forks import FORKS, switch_of
from decoder.import_tables import Effect, Flat, Rule, squeeze
from decoder.neutral_settings import is_neutral

OFF = "off"  # the note of a switch that turns fields off, whatever other keys say
ON = "the other keys set the values"
NO_PART = "the decoder here has no part"  # how the note of a key of another part begins
_OF_LAYERS = re.compile(r"(\w*(?:former|mamba|lstm|gru|tcn|rwkv))_\w", re.IGNORECASE)
_TYPING_ERROR = 0.8  # likeness of a key to a known one from which it is probably that one
_OFF_TEXTS = ("", "none", "null", "off", "false", "no")

# Blocks that a file may put our fields in, without case and separators; for each section of ours
# those that it shares with no other. A block of any other name is another part of the trainer.
_ANYWHERE = frozenset(
    "model models modelconfig net network rnn gru lstm decoder config cfg args hparams "  # noqa: SIM905
    "hyperparameters hyperparams params kwargs parameters training train trainer trainingconfig "
    "settings common base default experiment grudecoder lstmdecoder rnndecoder".split()
)
_IN_SECTION = {
    section: frozenset(names.split())
    for section, names in {
        "data": "data dataset datasets dataloader loader batch dataconfig",
        "augment": "augment augmentation augmentations dataaugmentation transforms datatransforms "
        "specaugment specaug noise smoothing preprocessing data dataset datasets masking timemask "
        "featuremask freqmask",
        "model": "inputnetwork architecture arch",
        "loss": "loss losses criterion ctc objective",
        "optim": "optim optimizer optimization optimiser scheduler lrscheduler lrschedule schedule "
        "lr adam adamw sgd gradient gradients optimizerparams optimizerargs optimizerkwargs "
        "schedulerparams schedulerargs schedulerkwargs",
        "train": "eval evaluation validation logging",
        "evaluation": "eval evaluation decoding inference test",
    }.items()
}
# Blocks of what happens after training.
_AFTERWARDS = re.compile(
    r"(eval|evaluation|inference|decoding|test|testing|lm|languagemodel|ngram|llm|rescoring|submit|"
    r"submission|report|metrics)(config|args|params|settings)?"
)
# Fields of ours whose names say too little in the file of another trainer.
_NOT_BY_NAME = ("data.path", "optim.frozen", "train.start_from")
_WORDS_OF_A_SWITCH = re.compile(
    r"^(use|enable|apply|with|num|n)_?(?P<after>\w{3,})$"
    r"|^(?P<before>\w{3,}?)_?(enabled|enable|active|type|p|prob|probability|rate|ratio|weight|lambda|"
    r"alpha|layers|num_blocks|n_blocks|blocks|layers|num|count|std|max)$",
    re.IGNORECASE,
)
_SWITCHES_OF_A_BLOCK = (
    *("enabled", "enable", "active", "use", "on", "type", "name"),
    *("weight", "lambda", "alpha", "p", "prob", "probability", "rate"),
)


def off_keys(file: Flat) -> list[str]:
    """The keys of a file whose values are off, see `is_off`."""
    return [key for key, value in file.items() if is_off(value)]


def fork_effect(
    key: str, value: Any, file: Flat, off: Sequence[str], known: Sequence[str]
) -> Effect:
    """What a key of a fork means here.

    Args:
        key: dotted.
        value: its value.
        file: every key of the file, dotted, and its value.
        off: its `off_keys`.
        known: the keys of the official trainer, of which the nearest is suggested.
    """
    found, switch = _by_spelling(key, value, file), _switched_off_by(key, off)
    if found and not (switch and found.outcome == "unsupported"):
        return found
    if is_neutral(key):
        return Effect("no effect", {}, "concerns folders, devices or labels, not training")
    names = key.split(".")
    of_decoding = re.match(r"(beam|lm|ngram)_?\w", names[-1], re.IGNORECASE)
    if of_decoding or any(_AFTERWARDS.fullmatch(squeeze(name)) for name in names[:-1]):
        return Effect("no effect", {}, "concerns what happens after training")
    switch = switch or _of_other_layers(key, file)
    if switch:
        return Effect("no effect", {}, f"{switch} turns it off")
    if is_off(value):
        return Effect("unknown", {}, _nearest(names[-1], known).removeprefix("; "))
    if other := _other_part(names):
        return Effect("unsupported", {}, f"{NO_PART} '{other}'")
    hint = _nearest(names[-1], known)
    return Effect("unsupported", {}, f"it is not known here and may change training{hint}")


def is_off(value: Any) -> bool:
    """Whether a value turns something off, or leaves it as it is without the key."""
    if isinstance(value, str):
        return value.strip().lower() in _OFF_TEXTS
    return not value  # 0, false, null, nothing in it


def replaces_flat_keys(key: str, file: Flat) -> bool:
    """Whether a key stands in a block that says what it is, as ``optimizer: {type:, params:}``.

    A fork that adds such a block reads it in place of the trainer's own flat keys.
    """
    names = key.split(".")
    if "params" in names[1:-1]:
        return True
    blocks = (".".join(names[:n]) for n in range(1, len(names)))
    return any(f"{block}.{word}" in file for block in blocks for word in ("enabled", "type"))


def _by_spelling(key: str, value: Any, file: Flat) -> Effect | None:
    """The effect of a known spelling, by its last words, where its blocks are the decoder's own."""
    for spelt, blocks in _spellings(key):
        fields_off = switch_of(spelt, value)
        if fields_off is not None and _is_home(blocks, fields_off):
            return Effect("mapped", {} if value else fields_off, ON if value else OFF)
        rule = FORKS.get(spelt)
        if rule is None and (own := _own_names().get(spelt)):
            rule = _copied(own)
        if rule is None:
            continue
        effect = rule(value, file)
        if not _is_home(blocks, effect.fields):
            continue
        if value is None and effect.fields and not _takes_null(effect.fields):
            return Effect("unknown", {}, "null leaves it to the trainer's code")
        return effect
    return None


@functools.cache
def _own_names() -> dict[str, str]:
    """Our own names, without case and separators → their field, where that is one."""
    paths = [path for path in config_paths() if path not in _NOT_BY_NAME]
    names = [squeeze(path.partition(".")[2]) for path in paths]
    return {name: p for name, p in zip(names, paths, strict=True) if names.count(name) == 1}


def _spellings(key: str) -> Iterator[tuple[str, list[str]]]:
    """The last words of a key as one, the most first, and the blocks before them."""
    names = [squeeze(name) for name in key.split(".")]
    for n in range(len(names), 0, -1):
        words = [name for name in names[-n:] if name not in ("params", "kwargs", "args")]
        spelt = "".join(words).replace("masking", "mask").replace("maskmask", "mask")
        if words and words[0] == squeeze(key.split(".")[len(names) - n]):
            yield spelt, names[:-n]


def _copied(path: str) -> Rule:
    return lambda value, _: Effect("mapped", {path: value})


def _is_home(blocks: Sequence[str], fields: Flat) -> bool:
    """Whether every block is one that the decoder's own settings may stand in."""
    sections = {path.partition(".")[0] for path in fields} or set(_IN_SECTION)
    allowed = _ANYWHERE.union(*(_IN_SECTION[section] for section in sections))
    return all(block in allowed for block in blocks)


def _takes_null(fields: Flat) -> bool:
    own = flatten(DecoderConfig())
    return any(own[path] is None for path in fields) or "optim.grad_clip" in fields


def _switched_off_by(key: str, off: Sequence[str]) -> str | None:
    """The switch that turns a key off: of a block, or beside it with the same first words."""
    names = key.split(".")
    for n in range(1, len(names)):
        block = ".".join(names[:n])
        for word in _SWITCHES_OF_A_BLOCK:
            switch = f"{block}.{word}"
            if switch != key and switch in off:
                return switch
    parent, last = ".".join(names[:-1]), squeeze(names[-1])
    for other in off:
        above, _, name = other.rpartition(".")
        if above != parent or other == key:
            continue
        found = _WORDS_OF_A_SWITCH.fullmatch(name)
        stem = squeeze((found["after"] or found["before"]) if found else name)
        if len(stem) >= 3 and last.startswith(stem) and last != stem:
            return other
    return None


def _of_other_layers(key: str, file: Flat) -> str | None:
    """The key that chooses GRU or LSTM beside a key of other layers (``reslstm_dropout``)."""
    parent, _, last = key.rpartition(".")
    kind = _OF_LAYERS.match(last)
    for other, value in file.items() if kind else ():
        above, _, name = other.rpartition(".")
        rule = FORKS.get(squeeze(name))
        if above == parent and rule is not None:
            chosen = rule(value, file).fields.get("model.architecture")
            if chosen and kind and kind[1].lower() != chosen:
                return other
    return None


def _nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the key of the trainer, or the field of ours, whose name is spelt almost so."""
    paths = {path.rpartition(".")[2]: path for path in (*config_paths(), *known)}
    return did_you_mean(name, paths, _TYPING_ERROR)


def _other_part(names: Sequence[str]) -> str | None:
    """The first block of a key that no setting of the decoder stands in."""
    known = _ANYWHERE.union(*_IN_SECTION.values())
    return next((name for name in names[:-1] if squeeze(name) not in known), None)
