"""Opens the packed store of recordings by their path; finds, generates and packs them first."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from decoder.complaints import did_you_mean
from decoder.data.files import Say, hash_files, only_builder, silent, storage_errors
from decoder.data.generated import has_digests, what_differs, write_digests
from decoder.data.layouts import find_layout, session_names, source_files
from decoder.data.packing import Source, pack
from decoder.data.store import Dataset, open_if_whole
from decoder.data.synthetic import RECIPES, make_synthetic, recipe_digest
from decoder.errors import ConfigError, StorageError

SYNTHETIC_PREFIX = "synthetic:"


def prepare(
    path: str,
    sessions: Sequence[str] | None,
    feature_subset: Sequence[int] | None,
    datasets_dir: Path,
    say: Say = silent,
    *,
    needs_sentences: bool = False,
) -> Dataset:
    """Open the packed store of a data set; generate, validate and pack it first if needed.

    Args:
        path: a folder in the T15 or the T12 layout, or ``synthetic:NAME``.
        sessions: names in day order; None takes every session found, sorted.
        feature_subset: features to keep, in order; None keeps all.
        datasets_dir: keeps stores, generated recordings and file digests.
        say: receives one line about each slow step.
        needs_sentences: whether a store that an earlier version packed, without the sentences, is
            packed again. Its fingerprint stays.

    Raises:
        ConfigError: `path` names no known recipe.
        DataError: the recordings cannot be trained on as they are; names every problem.
        StorageError: `datasets_dir` is full or cannot be written.
    """
    with storage_errors(datasets_dir):
        datasets_dir.mkdir(parents=True, exist_ok=True)
    source = find_source(path, sessions, feature_subset, datasets_dir, say)
    target = datasets_dir / source.fingerprint
    return open_if_whole(target, say, needs_sentences=needs_sentences) or pack(
        source, target, say, needs_sentences=needs_sentences
    )


def find_source(
    path: str,
    sessions: Sequence[str] | None,
    feature_subset: Sequence[int] | None,
    datasets_dir: Path,
    say: Say,
) -> Source:
    """Find the recordings, generating ``synthetic:NAME`` on first use, and hash their files.

    Arguments and errors are those of `prepare`.
    """
    is_own = not path.startswith(SYNTHETIC_PREFIX)
    folder = (
        in_home(path)
        if is_own
        else _generate_once(path.removeprefix(SYNTHETIC_PREFIX), datasets_dir, say)
    )
    layout = find_layout(folder)
    if is_own and has_digests(folder) and (differs := what_differs(folder, datasets_dir, say)):
        say(
            f"{folder}: differs from what was generated ({differs}); it is used as it is, and "
            "`data make` makes such a folder anew"
        )
    names = session_names(folder, layout, sessions)
    digests = hash_files(folder, source_files(folder, layout, names), datasets_dir, say)
    subset = None if feature_subset is None else tuple(feature_subset)
    return Source(folder, layout, names, subset, digests, layout.reader.label_digest(folder))


def in_home(path: str) -> Path:
    """The path with ``~`` and ``~USER`` replaced; a user that does not exist stays as written."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises then)


def _generate_once(name: str, datasets_dir: Path, say: Say) -> Path:
    """The folder of a synthetic data set, generated on first use."""
    if name not in RECIPES:
        raise ConfigError(
            f"data.path: '{SYNTHETIC_PREFIX}{name}' is no recipe{did_you_mean(name, RECIPES)} "
            f"(recipes: {', '.join(sorted(RECIPES))})"
        )
    recipe = RECIPES[name]
    target = datasets_dir / f"synthetic-{name}-{recipe_digest(recipe)}"
    if _is_as_generated(target, say):
        return target
    with only_builder(target, say):
        if not _is_as_generated(target, silent):
            say(f"generating {SYNTHETIC_PREFIX}{name} into {target}")
            make_synthetic(recipe, target, replace=True)
    return target


def _is_as_generated(folder: Path, say: Say) -> bool:
    """Whether a generated data set is there, and what was generated.

    An earlier version kept no digests. Its files are taken as they are: generated again, they could
    have other bytes, if h5py has changed since, and with them other run ids.
    """
    if not os.path.lexists(folder):
        return False
    if not folder.is_dir():
        say(f"{folder}: is no folder; generating it again")
        return False
    if not has_digests(folder):
        say(f"{folder}: an earlier version generated it, without digests; it is taken as it is")
        with suppress(StorageError):  # read-only, perhaps
            write_digests(folder)
        return True
    if differs := what_differs(folder, folder.parent, say):
        say(f"{folder}: differs from its recipe ({differs}); generating it again")
        return False
    return True
