"""The recordings of each arm, prepared once; imports neither torch nor h5py."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from decoder.config import DecoderConfig
from orchestrator.plan.foreign_data import identify
from orchestrator.spec.arms import Arm
from orchestrator.spec.configuration import CommandConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Key = tuple[str, tuple[str, ...] | None, tuple[int, ...] | None]


@dataclass(frozen=True)
class Recordings:
    """One prepared set of recordings.

    Attributes:
        fingerprint: hash of the recordings, the order of sessions and the feature subset.
        path: its path in the configuration.
        sessions: the names of the sessions, in day order.
        n_train_trials, n_val_trials: trials of each split.
        n_features: features per bin.
        n_classes: CTC classes, including blank.
        bin_ms: duration of a bin.
        longest_bins: bins of the longest trial of either split; 0 if unknown.
        longest_target: labels of the longest target; 0 if unknown.
        remarks: what the arms should know of them: trials left out, sessions without validation.
        stated: what identifies recordings that a user's trainer reads; empty for those that we
            read, which alone have sessions, trials and features.
    """

    fingerprint: str
    path: str
    folder: Path
    sessions: tuple[str, ...]
    n_train_trials: int
    n_val_trials: int
    n_features: int
    n_classes: int
    bin_ms: int
    longest_bins: int = 0
    longest_target: int = 0
    remarks: tuple[str, ...] = ()
    stated: str = ""


# Arms, folder of packed recordings, remarks → arm id → its recordings; as `prepare_data`.
PrepareData = Callable[[Sequence[Arm], Path, Callable[[str], None]], Mapping[str, Recordings]]


def prepare_data(
    arms: Sequence[Arm], datasets_dir: Path, say: Callable[[str], None]
) -> dict[str, Recordings]:
    """Prepare the recordings of every arm; each distinct set is prepared once.

    Args:
        datasets_dir: where prepared recordings are stored.

    Returns:
        Arm id → its recordings.

    Raises:
        ConfigError, DataError, StorageError: see `decoder.data.prepare.prepare`.
        DataError: an arm that cannot be trained on its recordings.
    """
    commands = {arm.arm_id: arm.config for arm in arms if isinstance(arm.config, CommandConfig)}
    if commands:
        return _identified(commands)
    from decoder.data.alignment import check_trainable
    from decoder.data.prepare import prepare  # loads numpy, scipy and h5py

    prepared: dict[_Key, Recordings] = {}
    datasets = {}
    checked = set()
    remarks: dict[_Key, dict[str, None]] = {}
    key_of = {}
    with_words = {
        _key(arm.config)
        for arm in arms
        if isinstance(arm.config, DecoderConfig) and arm.config.evaluation.words.is_on
    }
    for arm in arms:
        config = arm.config
        assert isinstance(config, DecoderConfig)
        data, model, key = config.data, config.model, _key(config)
        if key not in prepared:
            dataset = datasets[key] = prepare(
                *key, datasets_dir, say, needs_sentences=key in with_words
            )
            prepared[key] = Recordings(
                fingerprint=dataset.fingerprint,
                path=data.path,
                folder=dataset.path,
                sessions=tuple(dataset.sessions),
                n_train_trials=dataset.train.n_trials,
                n_val_trials=dataset.val.n_trials,
                n_features=dataset.n_features,
                n_classes=dataset.n_classes,
                bin_ms=dataset.bin_ms,
                longest_bins=_longest(split.bin_counts for split in (dataset.train, dataset.val)),
                longest_target=_longest(
                    split.label_counts for split in (dataset.train, dataset.val)
                ),
            )
        key_of[arm.arm_id] = key
        cut = config.augment.random_cut
        shares = (data.train_sessions_share, data.train_share)
        taken = (data.held_out_sessions, shares, config.train.kept_logits)
        # The values that decide whether recordings can be trained on.
        of_words = config.evaluation.words.is_on
        patches = (model.patch_size, model.patch_stride)
        demands = (key, *patches, cut, data.days_per_batch, taken, of_words)
        if demands not in checked:  # now, rather than when the arm trains
            found = check_trainable(datasets[key], config)
            remarks.setdefault(key, {}).update(dict.fromkeys(found))
            checked.add(demands)
    whole = {key: replace(one, remarks=tuple(remarks[key])) for key, one in prepared.items()}
    return {arm_id: whole[key] for arm_id, key in key_of.items()}


def _key(config: DecoderConfig) -> _Key:
    """Equal for the configurations of the same recordings."""
    return config.data.path, config.data.sessions, config.data.feature_subset


def _identified(configs: Mapping[str, CommandConfig]) -> dict[str, Recordings]:
    """Arm id → what stands for the recordings of its command; each distinct set is read once."""
    known: dict[str, Recordings] = {}
    found = {}
    for arm_id, config in configs.items():
        key = repr([config.settings.get(entry, entry) for entry in config.trainer.data])
        if key not in known:
            one = identify(config)
            known[key] = Recordings(
                fingerprint=one.fingerprint,
                path=one.path,
                folder=Path(config.trainer.cwd),
                sessions=(),
                n_train_trials=0,
                n_val_trials=0,
                n_features=0,
                n_classes=0,
                bin_ms=0,
                remarks=(one.remark,) if one.remark else (),
                stated=one.stated,
            )
        found[arm_id] = known[key]
    return found


def _longest(counts: Iterable["NDArray[np.int64]"]) -> int:
    return max(int(of_split.max(initial=0)) for of_split in counts)
