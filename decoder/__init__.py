"""A PyTorch library that trains CTC phoneme decoders on intracortical speech recordings.

The names below are enough for a notebook; import anything else from its module, for instance
``decoder.ctc.greedy_decode``. Names load on first use, so ``import decoder`` is fast.

Train two learning rates together on generated recordings, then evaluate the weights of one:

    >>> import decoder
    >>> small = {
    ...     "data.path": "synthetic:tiny", "data.batch_size": 8, "data.days_per_batch": 2,
    ...     "model.n_units": 32, "model.n_layers": 2, "optim.lr_warmup_steps": 10,
    ...     "train.n_steps": 40, "train.eval_every_steps": 20, "train.keep_weights": "best",
    ... }
    >>> fast = decoder.override(decoder.DecoderConfig(), small)
    >>> slow = decoder.override(fast, {"optim.lr_max": 0.002})
    >>> results = decoder.train_pack([fast, slow], "datasets", seed=1, weights_dir="weights")
    >>> [(result.status, len(result.history)) for result in results]
    [('ok', 2), ('ok', 2)]
    >>> sorted(results[0].history[-1])[:3]
    ['blank_fraction', 'blank_posterior', 'clipped_share']

    >>> weights = decoder.read_weights(f"weights/{results[0].run_id}")
    >>> score = decoder.evaluate_weights(weights, datasets_dir="datasets")
    >>> score.total.n_trials, 0 <= score.total.per <= 1
    (8, True)

``decoder.load_config("base.yaml")`` reads a configuration file of ours, ``decoder.import_file`` one
of an official trainer.
"""

from typing import TYPE_CHECKING

from decoder.faces import lazy_face

if TYPE_CHECKING:
    from decoder.api import evaluate_weights, open_recordings, predict_trials, train_pack
    from decoder.config import DecoderConfig, load_config, override, with_extensions
    from decoder.data.store import Dataset
    from decoder.errors import ConfigError, DataError, StorageError, UserError
    from decoder.importing import Imported, import_file
    from decoder.pack import Progress, RunResult
    from decoder.scoring import Score
    from decoder.weights import Weights, build_decoder, read_weights
else:
    __getattr__, __dir__, _ = lazy_face(
        __name__,
        {
            "api": ("evaluate_weights", "open_recordings", "predict_trials", "train_pack"),
            "config": ("DecoderConfig", "load_config", "override", "with_extensions"),
            "data.store": ("Dataset",),
            "errors": ("ConfigError", "DataError", "StorageError", "UserError"),
            "importing": ("Imported", "import_file"),
            "pack": ("Progress", "RunResult"),
            "scoring": ("Score",),
            "weights": ("Weights", "build_decoder", "read_weights"),
        },
    )

__all__ = [
    "ConfigError",
    "DataError",
    "Dataset",
    "DecoderConfig",
    "Imported",
    "Progress",
    "RunResult",
    "Score",
    "StorageError",
    "UserError",
    "Weights",
    "build_decoder",
    "evaluate_weights",
    "import_file",
    "load_config",
    "open_recordings",
    "override",
    "predict_trials",
    "read_weights",
    "train_pack",
    "with_extensions",
]
