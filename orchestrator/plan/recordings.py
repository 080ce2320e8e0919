"""The recordings each arm is trained on: prepared once, and described without torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decoder.config import DecoderConfig
from decoder.sections import DataConfig
from orchestrator.spec.arms import Arm


@dataclass(frozen=True)
class DataInfo:
    """One prepared set of recordings.

    Attributes:
        fingerprint: hash of recordings, session order and feature subset.
        path: as the configuration names it.
        folder: its packed store.
        sessions: names in day order.
        n_train_trials, n_val_trials: trials of each split.
        n_features: features a bin.
        n_classes: CTC classes, blank included.
        bin_ms: duration of a bin.
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

    def document(self) -> dict[str, Any]:
        """As JSON, without the folder, which depends on where the results lie."""
        values = asdict(self)
        del values["folder"]
        return {**values, "sessions": list(self.sessions)}


# Arms, folder of packed recordings, remarks → arm id → its recordings; as `prepare_data`.
PrepareData = Callable[[Sequence[Arm], Path, Callable[[str], None]], Mapping[str, DataInfo]]


def prepare_data(
    arms: Sequence[Arm], datasets_dir: Path, say: Callable[[str], None]
) -> dict[str, DataInfo]:
    """Prepare the recordings of every arm, each distinct set once.

    Returns:
        Arm id → its recordings.

    Raises:
        ConfigError, DataError, StorageError: see `decoder.data.prepare.prepare`.
        DataError: an arm that cannot be trained on its recordings.
    """
    from decoder.data.alignment import check_trainable
    from decoder.data.prepare import prepare  # loads numpy, scipy and h5py

    prepared: dict[tuple[Any, ...], DataInfo] = {}
    datasets = {}
    checked = set()
    by_arm = {}
    for arm in arms:
        key = _key(arm.config.data)
        if key not in prepared:
            dataset = datasets[key] = prepare(*key, datasets_dir, say)
            prepared[key] = DataInfo(
                fingerprint=dataset.fingerprint,
                path=arm.config.data.path,
                folder=dataset.path,
                sessions=tuple(dataset.sessions),
                n_train_trials=dataset.train.n_trials,
                n_val_trials=dataset.val.n_trials,
                n_features=dataset.n_features,
                n_classes=dataset.n_classes,
                bin_ms=dataset.bin_ms,
            )
        by_arm[arm.arm_id] = prepared[key]
        demands = (key, *_demands(arm.config))
        if demands not in checked:  # at once, and not when the arm's turn to train comes
            check_trainable(datasets[key], arm.config)
            checked.add(demands)
    return by_arm


def _demands(config: DecoderConfig) -> tuple[int, ...]:
    """What decides whether recordings can be trained on."""
    model = config.model
    cut, days = config.augment.random_cut, config.data.days_per_batch
    return model.patch_size, model.patch_stride, cut, days


def _key(
    data: DataConfig,
) -> tuple[str, tuple[str, ...] | None, tuple[int, ...] | None]:
    return data.path, data.sessions, data.feature_subset
