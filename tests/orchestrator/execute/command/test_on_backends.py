"""Commands on a backend: what Ray reserves, nodes that share no disk, and the progress display."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console
from tiny_command import command_config, command_pack, execution_in, write_trainer

from decoder.errors import ConfigError
from decoder.pack import HISTORY_COLUMNS, Progress
from orchestrator.execute.backends import PackEvent
from orchestrator.execute.backends.away import Access, train_away
from orchestrator.execute.backends.ray_cluster import worker_resources
from orchestrator.execute.backends.travel import FolderSource
from orchestrator.execute.backends.types import Execution
from orchestrator.execute.backends.worker import Account, next_message, train_pack
from orchestrator.execute.progress import Display
from orchestrator.execute.training import gpus_of


def access(execution: Execution, nonce: str) -> Access:
    marker = execution.weights_dir / ".seen"  # type: ignore[operator]
    marker.parent.mkdir(exist_ok=True)
    marker.write_text("nonce")
    source = FolderSource(execution.dataset_dir, execution.checkpoint_dir)
    return Access(nonce, (marker,), {}, source)


def test_a_command_gets_the_gpus_of_its_section_unless_others_are_asked_for(
    tmp_path: Path,
) -> None:
    folder = write_trainer(tmp_path / "trainer")
    half, none = (command_pack(command_config(folder, {"gpus": n})) for n in (0.5, 0))
    assert (gpus_of([half], None), gpus_of([none], None), gpus_of([half], 1.0)) == (0.5, 0, 1.0)
    node = {"CPU": 4.0, "GPU": 1.0}
    for gpus, reserved in ((0.5, {"CPU": 1.0, "GPU": 0.5}), (0.0, {"CPU": 1.0})):
        execution = execution_in(tmp_path, gpus_per_pack=gpus, n_workers=2)
        assert worker_resources(execution, [node]) == reserved


def test_a_node_without_the_folder_of_results_is_refused_in_one_line(tmp_path: Path) -> None:
    pack = command_pack(command_config(write_trainer(tmp_path / "trainer")))
    execution = execution_in(tmp_path)
    with pytest.raises(ConfigError, match="does not see the folder of results") as caught:
        next(train_away(pack, execution, access(execution, "another"), train_pack))
    assert len(caught.value.problems) == 1


def test_a_node_that_sees_the_folder_trains_there(tmp_path: Path) -> None:
    pack = command_pack(command_config(write_trainer(tmp_path / "trainer")))
    execution = execution_in(tmp_path)
    training = train_away(pack, execution, access(execution, "nonce"), train_pack)
    finished = [r for one in training if isinstance(one, Progress) for r in one.finished]
    assert [result.status for result in finished] == ["ok"]


def test_a_failed_trainer_leaves_its_worker_sound_and_its_runs_unsplit(tmp_path: Path) -> None:
    pack = command_pack(command_config(write_trainer(tmp_path / "trainer", "sys.exit(7)")))
    execution = execution_in(tmp_path)
    training = train_pack(pack, execution)
    message = next_message(training, execution)
    while not message.is_last:
        message = next_message(training, execution)
    assert message.ending == "exit code: 7" and message.crash is not None
    assert not Account([pack], print).split(pack.pack_id, tmp_path)


def test_the_display_shows_what_the_trainer_reports(tmp_path: Path) -> None:
    metrics = {"wer": "WER", "val_loss": "loss"}
    pack = command_pack(command_config(write_trainer(tmp_path / "t"), {"metrics": metrics}))
    display = Display(Console(file=io.StringIO(), width=200), [pack], 0)
    row = {**dict.fromkeys(HISTORY_COLUMNS, math.nan), "step": 200.0, "wer": 0.25, "val_loss": 3.0}
    display.update(PackEvent(pack.pack_id, Progress(200, {pack.runs[0].run_id: row})))
    assert "step 200/300, wer 0.25, val_loss 3.00" in display.line()
    out = io.StringIO()
    Console(file=out, width=200).print(display.render())
    assert "wer (range)" in out.getvalue() and "PER" not in out.getvalue()
