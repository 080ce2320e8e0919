"""What a trial says: its sentence, the words that a word error rate counts, and both in a store."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What both public evaluations keep.
_DROPPED = re.compile(r"[^a-zA-Z\- ']")
_APOSTROPHE = re.compile(r"[‘’ʼ]")
_DASH = re.compile(r"[‐‑]")  # hyphens beside the one of ASCII
_SPACE = re.compile(r"\s")


def normalise(sentence: str) -> str:
    """A sentence as a word error rate counts it: small letters, single spaces, no punctuation.

    The rule is that of the official T15 evaluation (`remove_punctuation` in nejm-brain-to-text,
    model_training/evaluate_model_helpers.py), so that rates can be compared with published ones.
    In its order: everything but the letters A to Z, hyphens, spaces and apostrophes is dropped,
    digits included and without leaving a space; a hyphen before a space is dropped; letters become
    small; ``--`` is dropped; an apostrophe after a space joins the word before. A hyphen within a
    word stays, so ``twenty-one`` is one word. In this order ``a -- b`` leaves the word ``-``, which
    the official evaluation counts, too.

    Text outside ASCII, which the releases do not hold, is first brought into it: letters lose their
    accents, typographic apostrophes and hyphens become plain, and any white space becomes a space.

    Args:
        sentence: any text.

    Returns:
        Its words with single spaces; empty if there are none.
    """
    plain = unicodedata.normalize("NFD", _DASH.sub("-", _APOSTROPHE.sub("'", sentence)))
    kept = _DROPPED.sub("", _SPACE.sub(" ", plain))
    kept = kept.replace("- ", " ").lower().replace("--", "").replace(" '", "'")
    return " ".join(kept.split())


def words_of_sentence(sentence: str) -> list[str]:
    """The words of a sentence after `normalise`."""
    return normalise(sentence).split()


def sentence_arrays(split: str, sentences: Sequence[str | None]) -> dict[str, NDArray[Any]]:
    """The sentences of a split as arrays of a store.

    Their names do not start with the split's, so that versions that know no sentences skip them.

    Args:
        split: its name.
        sentences: one for each trial; None where it is not known.
    """
    encoded = [(sentence or "").encode("utf-8", "replace") for sentence in sentences]
    ends = np.cumsum([0, *(len(one) for one in encoded)], dtype=np.int64)
    return {
        f"sentences.{split}.utf8": np.frombuffer(b"".join(encoded), np.uint8),
        f"sentences.{split}.offsets": ends,
        f"sentences.{split}.known": np.array([one is not None for one in sentences], np.bool_),
    }


def read_sentences(split: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[str | None, ...] | None:
    """The sentences of a split from the arrays of a store; None if an earlier version packed it."""
    if f"sentences.{split}.known" not in arrays:
        return None
    content = arrays[f"sentences.{split}.utf8"].tobytes()
    ends = arrays[f"sentences.{split}.offsets"].tolist()
    known = arrays[f"sentences.{split}.known"].tolist()
    return tuple(
        content[start:end].decode() if is_known else None
        for start, end, is_known in zip(ends, ends[1:], known, strict=False)
    )
