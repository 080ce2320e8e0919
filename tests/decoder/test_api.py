"""The names of the package, its example, and the calls of a notebook."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import decoder
from decoder.config import DecoderConfig, override
from decoder.errors import ConfigError
from decoder.pack import Progress

TINY = {
    "data.path": "synthetic:tiny",
    "data.batch_size": 4,
    "data.days_per_batch": 2,
    "model.n_units": 8,
    "model.n_layers": 1,
    "train.n_steps": 2,
    "train.eval_every_steps": 1,
}


def test_the_example_of_the_package_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = doctest.testmod(decoder)
    assert ran.attempted > 5 and not ran.failed


def test_every_public_name_is_there_and_sorted() -> None:
    assert decoder.__all__ == sorted(decoder.__all__)
    assert set(decoder.__all__) <= set(dir(decoder))
    assert all(getattr(decoder, name) is not None for name in decoder.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        decoder.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_no_library() -> None:
    code = (
        "import sys; import decoder; from decoder.errors import ConfigError\n"
        "assert decoder.UserError is ConfigError.__mro__[1]\n"
        "print(sorted({'torch', 'numpy', 'pydantic', 'h5py', 'yaml'} & set(sys.modules)))\n"
        "decoder.DecoderConfig()\n"
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["[]", "False"]


def test_results_come_in_the_order_of_the_configurations(tmp_path: Path) -> None:
    rates = [0.003, 0.001, 0.002]
    base = override(DecoderConfig(), TINY)
    configs = [override(base, {"optim.lr_max": rate, "train.n_steps": 2}) for rate in rates]
    configs[0] = override(configs[0], {"train.n_steps": 3})  # ends last
    events: list[Progress] = []
    results = decoder.train_pack(configs, tmp_path, device="cpu", on_progress=events.append)
    assert [result.n_steps_done for result in results] == [3, 2, 2]
    doses = [result.history[1]["learning_dose"] for result in results]
    assert doses[0] > doses[2] > doses[1]
    assert [event.step for event in events] == [1, 2, 3]


def test_configurations_that_cannot_share_a_pack_are_refused(tmp_path: Path) -> None:
    base = override(DecoderConfig(), TINY)
    wide = override(base, {"model.n_units": 9})
    with pytest.raises(ConfigError, match=r"model\.n_units is 8 and 9"):
        decoder.train_pack([base, wide], tmp_path)
    same = override(base, {"train.keep_weights": "best"})
    with pytest.raises(ConfigError, match="same result"):
        decoder.train_pack([base, same], tmp_path)
    with pytest.raises(ConfigError, match="empty"):
        decoder.train_pack([], tmp_path)
