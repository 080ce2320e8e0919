"""The configuration of an arm or a run, of either kind: of our decoder, or of a user's command.

What the orchestrator asks of a configuration is asked here, so that nothing else has to know its
kind. `Run` and `Pack` are those of `decoder.pack`, of either kind; training in `decoder` gets those
of its own kind alone.
"""

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeAlias, cast

from pydantic import ValidationError

from decoder import config as of_decoder
from decoder import pack as of_pack
from decoder.complaints import did_you_mean, yaml_text
from decoder.config import NUMERICS_VERSION, DecoderConfig, canonical_json, digest
from decoder.errors import ConfigError
from decoder.marks import Section
from orchestrator.spec.settings import interpolated, unflatten
from orchestrator.spec.trainer import TrainerSection

NOT_SET = "not set"  # the value of a key that only other configurations have
# Stands in a record for the version of the decoder's numerics, which a command does not use.
_COMMAND_VERSION = 0
_SETTINGS, _TRAINER = "settings", "trainer"


class CommandConfig(Section):
    """Everything that decides the result of a command, except its seed and its recordings.

    Attributes:
        trainer: how it is called; `cwd` is absolute.
        written: dotted path → value, for every key of the base with the changes of an arm, before
            interpolation. A mapping without keys is a value.
        code: path relative to `cwd` → SHA-256 of the file.
        commit: the git commit of `cwd`; None outside a checkout.
        dirty: whether the files of `code` differ from that commit; None outside a checkout.
        is_final: whether `written` holds values alone, as in a record.
    """

    trainer: TrainerSection
    written: dict[str, Any]
    code: dict[str, str]
    commit: str | None = None
    dirty: bool | None = None
    is_final: bool = False

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Dotted path → JSON value after interpolation, without the keys of seed and outputs."""
        own = self.trainer.own_keys
        return {p: v for p, v in self._interpolated({}).items() if p not in own}

    def changed(self, changes: Mapping[str, Any]) -> "CommandConfig":
        """A copy with other values, which are not checked; see `override`."""
        return CommandConfig.model_construct(
            trainer=self.trainer,
            written={**self.written, **changes},
            code=self.code,
            commit=self.commit,
            dirty=self.dirty,
            is_final=self.is_final,
        )

    def document(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The nested settings as the trainer reads them, after interpolation.

        Args:
            given: key → value, for the keys of seed and outputs.
        """
        return unflatten(self._interpolated(given))

    def _interpolated(self, given: Mapping[str, Any]) -> dict[str, Any]:
        written = {**self.written, **given}
        if self.is_final:
            return written
        environment = {**os.environ, **self.trainer.environment}
        return interpolated(written, self.trainer.base, environment)


Configuration: TypeAlias = DecoderConfig | CommandConfig
Run: TypeAlias = of_pack.Run[Configuration]
Pack: TypeAlias = of_pack.Pack[Configuration]


def flatten(config: Configuration) -> dict[str, Any]:
    """The settings as ``{dotted path: plain JSON value}``."""
    if isinstance(config, CommandConfig):
        return dict(config.settings)
    return of_decoder.flatten(config)


def as_written(config: Configuration) -> dict[str, Any]:
    """The same, before values are filled in that follow from others."""
    if isinstance(config, CommandConfig):
        own = config.trainer.own_keys
        return {path: value for path, value in config.written.items() if path not in own}
    return of_decoder.flatten(config)


def override(
    config: Configuration, changes: Mapping[str, Any], where: str = "override"
) -> Configuration:
    """A copy with dotted paths set to new values, see `decoder.config.override`.

    Raises:
        ConfigError: a path is no setting (the nearest name is suggested), or a value is impossible.
    """
    if isinstance(config, DecoderConfig):
        return of_decoder.override(config, changes, where)
    problems = [
        f"{where}: {text}"
        for p, value in changes.items()
        for text in explain_setting(config, p, value)
    ]
    if problems:
        raise ConfigError(problems)
    found = config.changed(
        {p: _fitted(value, config.written.get(p)) for p, value in changes.items()}
    )
    try:
        _ = found.settings
    except ConfigError as error:
        raise ConfigError([f"{where}: {text}" for text in error.problems]) from None
    return found


def explain_setting(config: CommandConfig, path: str, value: Any) -> list[str]:
    """What is wrong with a value for a key of a trainer; empty if nothing is.

    A value has the kind of the base's: text, number, truth value, list. Where the base has null, or
    lacks the key, any value will do, and null does everywhere. A whole number may become any.
    """
    trainer = config.trainer
    if path in trainer.own_keys:
        what = "the seed, see trainer.seed" if path in trainer.seed else "a path of each run's own"
        return [f"{path}: gets {what}; it cannot be changed"]
    if path not in config.written:
        return [] if path in trainer.new_keys else [_unknown(config, path)]
    if isinstance(value, str) and "${" in value:
        return []
    old = config.settings.get(path)
    want, got = _kind(old), _kind(value)
    if None in (old, value) or want == got:
        return []
    quotes = f"; put it in quotes: '{value}'" if want == "text" and got != "a list" else ""
    must = f"must be {want}, as in {trainer.base} ({yaml_text(old)})"
    return [f"{path}: {must}, but got {yaml_text(value)}{quotes}"]


def _unknown(config: CommandConfig, path: str) -> str:
    known = known_paths(config)
    inside = [one for one in known if one.startswith(f"{path}.")]
    if inside:
        mend = f"; it has keys of its own, such as '{inside[0]}': name one of them"
    else:
        mend = did_you_mean(path, known) or (
            "; if the trainer knows it all the same, add it to trainer.new_keys"
        )
    return f"'{path}' is not a key of {config.trainer.base}{mend}"


def _kind(value: Any) -> str:
    kinds = ((bool, "true or false"), (int | float, "a number"), (str, "text"), (list, "a list"))
    found = (name for kind, name in kinds if isinstance(value, kind))
    return next(found, "a mapping of keys to values")


def _fitted(value: Any, old: Any) -> Any:
    """The value as the base has it: 1 as 1.0, so that both have one identity."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if isinstance(old, float) and is_whole else value


def resolve(config: Configuration) -> Configuration:
    """The configuration with every value filled in that follows from another setting."""
    return config if isinstance(config, CommandConfig) else of_decoder.resolve(config)


def identity(config: Configuration) -> dict[str, Any]:
    """What can change a result: path → plain value. Equal identities train the same weights.

    Of a command these are its settings, its code, the words of the command and what else its
    section says of them. Settings that are paths of the recordings are left out, since the
    recordings are identified by themselves.
    """
    if isinstance(config, DecoderConfig):
        return of_decoder.identity(config)
    trainer = config.trainer
    settings = {p: value for p, value in config.settings.items() if p not in trainer.data}
    called = {f"{_TRAINER}:{name}": value for name, value in trainer.identity().items()}
    code = {f"code:{path}": sha256 for path, sha256 in config.code.items()}
    return {**settings, **called, **code}


def numerics_version(config: Configuration) -> int:
    """The version of the decoder's numerics that a run id contains."""
    return NUMERICS_VERSION if isinstance(config, DecoderConfig) else _COMMAND_VERSION


def run_id(config: Configuration, seed: int, dataset_fingerprint: str, replicate: int = 0) -> str:
    """The identity of a run, see `decoder.config.run_id`."""
    text = canonical_json(identity(config))
    version = numerics_version(config)
    return of_decoder.run_id_of(text, seed, dataset_fingerprint, replicate, version)


def pack_key(config: Configuration) -> str:
    """A key that is equal for configurations of one speed and, of our decoder, of one pack.

    Commands of one code share it, although each of their runs is a pack of its own.
    """
    if isinstance(config, DecoderConfig):
        return of_decoder.pack_key(config)
    return digest({"code": dict(config.code), **config.trainer.identity()})[:16]


def is_per_run(config: Configuration, path: str) -> bool:
    """Whether the runs of a pack may differ in this setting."""
    return isinstance(config, CommandConfig) or of_decoder.paths_of(config)[path].per_run


def known_paths(config: Configuration) -> tuple[str, ...]:
    """The dotted paths that a file may change."""
    if isinstance(config, DecoderConfig):
        return of_decoder.changeable_paths(config)
    own = config.trainer.own_keys
    known = dict.fromkeys((*config.written, *config.trainer.new_keys))
    return tuple(path for path in known if path not in own)


def n_steps_of(config: Configuration) -> int:
    """Training steps of a run; of a command that does not say, one."""
    if isinstance(config, DecoderConfig):
        return config.train.n_steps
    steps = config.settings.get(config.trainer.steps) if config.trainer.steps else None
    is_number = isinstance(steps, int | float) and not isinstance(steps, bool)
    return max(1, int(steps)) if is_number and steps is not None else 1


def says_steps(config: Configuration) -> bool:
    """Whether `n_steps_of` is a number of training steps."""
    return isinstance(config, DecoderConfig) or config.trainer.steps is not None


def is_of_command(pack: Pack) -> bool:
    """Whether a pack is trained by a command of the user's."""
    return isinstance(pack.runs[0].config, CommandConfig)


def of_our_decoder(pack: Pack) -> of_pack.Pack[DecoderConfig]:
    """The pack for `decoder.train.train`, which trains no commands."""
    assert all(isinstance(run.config, DecoderConfig) for run in pack.runs)
    return cast(of_pack.Pack[DecoderConfig], pack)


def document_of(config: Configuration) -> dict[str, dict[str, Any]]:
    """The configuration as nested JSON, as a record holds it; `parse_document` reads it."""
    if isinstance(config, DecoderConfig):
        return config.model_dump(mode="json")
    trainer = config.trainer.model_dump(mode="json", by_alias=True)
    code = {"code": dict(config.code), "commit": config.commit, "dirty": config.dirty}
    patterns = {"code_patterns": trainer.pop("code")}
    return {
        _TRAINER: {**trainer, **patterns, **code},
        _SETTINGS: dict(config.settings),
        "train": {"n_steps": n_steps_of(config)},
    }


def parse_document(document: Mapping[str, Mapping[str, Any]]) -> Configuration | None:
    """The configuration of a record; None if other software or another version wrote it."""
    try:
        if _TRAINER not in document:
            return DecoderConfig.model_validate(document)
        trainer = dict(document[_TRAINER])
        of_run = {name: trainer.pop(name) for name in ("code", "commit", "dirty")}
        trainer["code"] = trainer.pop("code_patterns")
        section = TrainerSection.model_validate(trainer)
        return CommandConfig(
            trainer=section, written=dict(document[_SETTINGS]), is_final=True, **of_run
        )
    except (ValidationError, KeyError, TypeError, ConfigError):
        return None


def is_command(document: Mapping[str, Any]) -> bool:
    """Whether a record's configuration is that of a command."""
    return _TRAINER in document
