"""The files that decoding to words reads: found, checked, and their hashes part of the identity.

It loads neither the lexicon nor the language model, nor torch.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from decoder.config import DecoderConfig
from decoder.data.pronunciation import FILE_NAME
from decoder.data.store import read_manifest
from decoder.entries import with_file
from decoder.errors import ConfigError, DataError, StorageError
from decoder.regular import sha256_of_file
from decoder.training_sections import (
    NO_FILES,
    PRONUNCIATIONS_KEY,
    WORD_COMMAND_KEY,
    WORD_FILE_KEYS,
    WORDS_KEY,
)

_INTERPRETERS = ("python", "bash", "perl", "Rscript", "julia")


def word_files(config: DecoderConfig, source: str = "") -> dict[str, str]:
    """What a run's words are decoded with: each file as written → the name of its hash.

    Args:
        source: the folder of the recordings, whose pronunciations count if there are any.
    """
    words = config.evaluation.words
    if not words.is_on:
        return {}
    if words.decoder == "command":
        keys = [f"{WORD_COMMAND_KEY}.{place}" for place in range(len(words.command))]
        return {
            word: key
            for word, key in zip(words.command, keys, strict=True)
            if key in config.files or _is_script(word)
        }
    named = zip(WORD_FILE_KEYS, (words.lexicon, words.language_model), strict=True)
    found = {text: key for key, text in named if text not in NO_FILES[key]}
    beside = Path(source) / FILE_NAME
    if source and (PRONUNCIATIONS_KEY in config.files or beside.is_file()):
        found[str(beside)] = PRONUNCIATIONS_KEY
    return found


def _is_script(word: str) -> bool:
    """Whether a word of a command names a file that is no program of its own."""
    path = Path(word).expanduser()
    return "{" not in word and path.is_file() and shutil.which(word) is None


def _missing_script(command: Sequence[str]) -> str:
    """The script that an interpreter is to run, if there is no such file; else empty.

    Other programs may start a script elsewhere, as ``ssh`` and containers do.
    """
    program, script = Path(command[0]).name, next(iter(command[1:]), "-")
    is_run = program.startswith(_INTERPRETERS) and not script.startswith("-") and "{" not in script
    return script if is_run and not Path(script).expanduser().is_file() else ""


def source_of_store(store: Path) -> str:
    """The folder of the recordings that a store was packed from; empty if it is not known."""
    try:
        return read_manifest(store).source
    except StorageError:  # recordings that are not packed
        return ""


def check_words(config: DecoderConfig) -> None:
    """Refuse a configuration whose words could not be decoded at the end of its training.

    Raises:
        ConfigError: a file is missing, a program cannot be started, or a package is not installed.
    """
    words = config.evaluation.words
    if words.decoder == "beam" and find_spec("flashlight") is None:
        raise ConfigError(
            f"{WORDS_KEY}.decoder: 'beam' needs flashlight-text, which is not installed: pip "
            "install 'speech-bci-sweeps[words]'"
        )
    if words.decoder == "command" and shutil.which(Path(words.command[0]).expanduser()) is None:
        raise ConfigError(
            f"{WORD_COMMAND_KEY}: '{words.command[0]}' is no program that can be started (in "
            f"{Path.cwd()}); give its path, or a name that is on the PATH, and make it executable"
        )
    if words.decoder == "command" and (script := _missing_script(words.command)):
        raise ConfigError(
            f"{WORD_COMMAND_KEY}: there is no file {script} (in {Path.cwd()}); give its path"
        )
    for text, key in word_files(config).items():
        if not Path(text).expanduser().is_file():
            kinds = (
                "none, train, or an ARPA file or a binary of KenLM"
                if key == WORD_FILE_KEYS[1]
                else "cmudict, train, or a file of pronunciations in CMUdict's format"
            )
            raise ConfigError(f"{key}: there is no file {text} (in {Path.cwd()}); give {kinds}")


def with_word_hashes(config: DecoderConfig, store: Path) -> DecoderConfig:
    """The configuration with the hashes of its words' files, which make a run's identity.

    A configuration without words comes back as it is.

    Args:
        store: the packed recordings.

    Raises:
        ConfigError: see `check_words`.
    """
    if not config.evaluation.words.is_on:
        return config
    check_words(config)
    for text, key in word_files(config, source_of_store(store)).items():
        config = with_file(config, key, sha256_of_file(Path(text).expanduser()))
    return config


def absolute_files(configs: Iterable[DecoderConfig], store: Path) -> dict[str, Path]:
    """File as written → its absolute path, for the files that decode runs to words.

    Args:
        store: the packed recordings.
    """
    return {
        text: Path(text).expanduser().resolve()
        for config in configs
        if config.evaluation.words.is_on
        for text in word_files(config, source_of_store(store))
    }


def planned_files(
    config: DecoderConfig, store: Path, places: Mapping[str, Path] | None = None
) -> dict[str, Path]:
    """Name of its hash → where a file lies, for each that the runs were planned with.

    Args:
        store: the packed recordings.
        places: file as written → where it lies on this machine, if elsewhere.

    Raises:
        DataError: a file is missing, or another than the one that was planned with.
    """
    found = {}
    for text, key in word_files(config, source_of_store(store)).items():
        path = (places or {}).get(text) or Path(text).expanduser()
        if key not in config.files:
            continue
        try:
            is_same = sha256_of_file(path) == config.files[key]
        except OSError as error:
            raise DataError(f"{key}: {path} cannot be read: {error.strerror or error}") from None
        if not is_same:
            raise DataError(
                f"{key}: {path} has changed since the runs were planned; run the command again, so "
                "that they are planned with it"
            )
        found[key] = path
    return found
