"""The files of a run of the user's trainer: its configuration, its words, its own working copy."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from decoder.errors import ConfigError
from decoder.foreign_config import parse_foreign
from decoder.user_files import read_bounded
from orchestrator.execute.command.reading import STDOUT
from orchestrator.spec.configuration import CommandConfig
from orchestrator.spec.settings import flatten
from orchestrator.spec.trainer import fill

_LARGE = 1 << 20  # bytes; larger files than this are linked into a working copy, unless code
_MOST_COPIED = 5_000  # files of a working copy
_NOT_COPIED = (".git", "__pycache__", ".venv", "venv", "wandb", ".ipynb_checkpoints")
_PLAIN = re.compile(r"[A-Za-z_/.][\w/.:@%+*-]*")  # a text that Hydra reads as it is
_MEANS_MORE = re.compile(r"(?i:true|false|null|nan|inf)$")


@dataclass(frozen=True)
class RunFiles:
    """Where everything of one run lies.

    Attributes:
        config: the configuration of the run.
        folder: the folder of the run, absolute.
    """

    run_id: str
    config: CommandConfig
    seed: int
    folder: Path

    @property
    def out(self) -> Path:
        """What ``{out}`` stands for."""
        return self.folder / "out"

    @cached_property
    def cwd(self) -> Path:
        """Where the command starts."""
        trainer = self.config.trainer
        if not trainer.copy_:
            return Path(trainer.cwd)
        return self.folder / "work" / Path(trainer.cwd).name

    @cached_property
    def settings_file(self) -> Path:
        """The file with the settings of this run."""
        base = Path(self.config.trainer.base)
        if self.config.trainer.copy_:
            return self.cwd / base
        return self.folder / f"config{base.suffix}"

    @property
    def course(self) -> str:
        """The course, as `orchestrator.execute.command.reading.CourseReader` takes it."""
        text = fill(self.config.trainer.course, self._values)
        return text if text == STDOUT else str(self.cwd / text)

    @cached_property
    def _values(self) -> dict[str, str]:
        return {
            "config": str(self.settings_file),
            "out": str(self.out),
            "seed": str(self.seed),
            "run_id": self.run_id,
        }

    @cached_property
    def _given(self) -> dict[str, Any]:
        """Key → value, for the keys of the seed and of the outputs."""
        trainer = self.config.trainer
        outputs = {key: fill(text, self._values) for key, text in trainer.outputs.items()}
        return {**dict.fromkeys(trainer.seed, self.seed), **outputs}

    def words(self, *, resumes: bool) -> list[str]:
        """The command.

        Raises:
            ConfigError: the base cannot be read.
        """
        trainer = self.config.trainer
        words = trainer.resume if resumes and trainer.resume else trainer.command
        settings = list(self._settings_words())
        filled: list[str] = []
        for word in words:
            filled += settings if word == "{settings}" else [fill(word, self._values)]
        if trainer.pass_ != "file" and "{settings}" not in words:
            filled += settings
        if filled[0] in ("python", "python3") and shutil.which(filled[0]) is None:
            filled[0] = sys.executable
        return filled

    def environment(self, threads: int) -> dict[str, str]:
        """The environment of the command: that of this process, and what the section adds."""
        # What it prints is read while it runs.
        usual = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(threads)}
        return {**usual, **os.environ, **self.own_environment}

    @property
    def own_environment(self) -> dict[str, str]:
        """The variables that the section adds."""
        own = self.config.trainer.environment
        return {name: fill(value, self._values) for name, value in own.items()}

    def start_afresh(self) -> None:
        """Write the files of the run, and remove what an earlier attempt left.

        Raises:
            OSError: a file cannot be written.
            ConfigError: the folder of the trainer cannot be copied.
        """
        trainer = self.config.trainer
        for folder in (self.out, self.folder / "work"):
            shutil.rmtree(folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        # A trainer that is told this very folder may insist on making it.
        if "{out}" not in trainer.outputs.values():
            self.out.mkdir()
        if trainer.copy_:
            copy_folder(Path(trainer.cwd), self.cwd, self.config.code)
        self.settings_file.unlink(missing_ok=True)
        self.settings_file.parent.mkdir(parents=True, exist_ok=True)
        document = self.config.document(self._given)
        if self.settings_file.suffix == ".json":
            text = json.dumps(document, indent=1)
        else:
            text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        self.settings_file.write_text(text, encoding="utf-8")

    def _settings_words(self) -> Iterator[str]:
        """The settings that differ from the base, as words for ``flags`` and for ``hydra``."""
        trainer = self.config.trainer
        if trainer.pass_ == "file":
            return
        file = Path(trainer.cwd) / trainer.base
        written = flatten(parse_foreign(read_bounded(file), str(file)))
        base = flatten(CommandConfig(trainer=trainer, written=written, code={}).document({}))
        for path, value in flatten(self.config.document(self._given)).items():
            if path in base and base[path] == value and path not in self._given:
                continue
            if trainer.pass_ == "flags":
                yield f"--{path}={flag_text(value)}"
            else:
                yield f"{'' if path in base else '++'}{path}={hydra_text(value)}"


def flag_text(value: Any) -> str:
    """A value as a flag has it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def hydra_text(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(hydra_text, value))}]"
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and not _MEANS_MORE.match(value):
            return value
        body = re.sub(r"(\\*)'", r"\1\1\\'", value)  # a quote, and backslashes before it
        body = re.sub(r"(\\+)$", r"\1\1", body)
        return f"'{body}'"
    return json.dumps(value)


def copy_folder(source: Path, target: Path, code: Mapping[str, str]) -> None:
    """Copy a folder for one run; large files are linked, and so is what lies beside the folder.

    Args:
        code: paths of files, relative to `source`, that are copied at any size.

    Raises:
        ConfigError: it has too many files.
        OSError: a file cannot be copied.
    """
    n_files = 0
    target.mkdir(parents=True)
    for beside in source.parent.iterdir():
        if beside.name != source.name:
            (target.parent / beside.name).symlink_to(beside)
    for above, folders, names in os.walk(source):
        # Results may lie in the folder of the trainer: the copy itself is not copied.
        inside = [name for name in folders if target.is_relative_to(Path(above) / name)]
        folders[:] = [name for name in folders if name not in (*_NOT_COPIED, *inside)]
        here = target / Path(above).relative_to(source)
        links = [name for name in folders if (Path(above) / name).is_symlink()]
        for name in folders:
            if name not in links:
                (here / name).mkdir()
        for name in (*names, *links):
            n_files += 1
            if n_files > _MOST_COPIED:
                raise ConfigError(
                    f"trainer.copy: {source} has more than {_MOST_COPIED:,} files; move what is no "
                    "code beside it, from where the copy sees it, too"
                )
            path = Path(above) / name
            is_code = path.relative_to(source).as_posix() in code
            if path.is_file() and (is_code or path.stat().st_size <= _LARGE):
                shutil.copy2(path, here / name)
            else:
                (here / name).symlink_to(path.resolve())
