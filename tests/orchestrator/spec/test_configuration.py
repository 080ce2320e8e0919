"""`orchestrator.spec.configuration`: what is asked of a configuration, of either kind."""

import json
from typing import Any

from user_trainer import LEAST

from decoder import config as of_decoder
from decoder.config import DecoderConfig
from orchestrator.spec import configuration as c
from orchestrator.spec.configuration import CommandConfig
from orchestrator.spec.settings import flatten, unflatten
from orchestrator.spec.trainer import TrainerSection

BASE: dict[str, Any] = {
    "lr": 0.01,
    "lr_min": "${lr}",
    "seed": 10,
    "n_batches": 200,
    "data_dir": "/mnt/a",
    "model": {"n_units": 64, "sizes": [1, 2], "empty": {}},
    "output": {"dir": "out", "checkpoints": "${output.dir}"},
}


def command_config(**changes: Any) -> CommandConfig:
    """A configuration of a command; the changes are of its section or, with dots, settings."""
    of_trainer = {name: v for name, v in changes.items() if name not in flatten(BASE)}
    own = {"steps": "n_batches", "outputs": {"output.dir": "{out}"}, "data": ["data_dir"]}
    return CommandConfig(
        trainer=TrainerSection.model_validate({**LEAST, **own, **of_trainer}),
        written={**flatten(BASE), **{n: v for n, v in changes.items() if n in flatten(BASE)}},
        code={"train.py": "0" * 64},
        commit="f00",
        dirty=False,
    )


def test_nested_settings_come_back_from_dotted_paths() -> None:
    assert unflatten(flatten(BASE)) == BASE
    assert flatten({"a": {"b.c": 1}, "d": {2: 3}}) == {"a": {"b.c": 1}, "d": {2: 3}}


def test_settings_are_interpolated_and_lack_the_keys_that_a_run_sets() -> None:
    flat = c.flatten(command_config())
    assert flat["lr_min"] == 0.01
    assert "seed" not in flat and "output.dir" not in flat
    assert c.as_written(command_config())["lr_min"] == "${lr}"


def test_the_document_of_a_run_follows_the_values_it_is_given() -> None:
    document = command_config(lr=0.02).document({"seed": 3, "output.dir": "/r"})
    assert document["output"] == {"dir": "/r", "checkpoints": "/r"}
    assert (document["seed"], document["lr_min"]) == (3, 0.02)


def test_the_run_id_of_a_command_has_settings_code_and_words_but_no_place() -> None:
    plain = c.run_id(command_config(), 0, "data")
    assert (
        c.run_id(command_config(cwd="/elsewhere", hours=3.0, course="stdout"), 0, "data") == plain
    )
    assert c.run_id(command_config(data_dir="/mnt/b"), 0, "data") == plain
    other_code = command_config().model_copy(update={"code": {"train.py": "1" * 64}})
    others = [
        c.run_id(command_config(lr=0.02), 0, "data"),
        c.run_id(command_config(), 1, "data"),
        c.run_id(command_config(), 0, "other"),
        c.run_id(command_config(), 0, "data", 1),
        c.run_id(other_code, 0, "data"),
        c.run_id(command_config(command=["sh", "{config}"]), 0, "data"),
    ]
    assert len({plain, *others}) == 7


def test_a_record_of_a_command_gives_back_its_identity() -> None:
    config = command_config()
    document = json.loads(json.dumps(c.document_of(config)))
    assert document["train"] == {"n_steps": 200}
    back = c.parse_document(document)
    assert back is not None and c.identity(back) == c.identity(config)
    assert c.pack_key(back) == c.pack_key(config)
    assert c.parse_document({**document, "trainer": {}}) is None


def test_our_own_configurations_keep_their_ids_and_documents() -> None:
    config = DecoderConfig()
    assert c.run_id(config, 1, "data", 2) == of_decoder.run_id(config, 1, "data", 2)
    assert c.pack_key(config) == of_decoder.pack_key(config)
    assert c.document_of(config) == config.model_dump(mode="json")
    assert c.parse_document(c.document_of(config)) == config
    assert c.n_steps_of(config) == config.train.n_steps


def test_steps_are_read_from_the_key_that_is_named() -> None:
    assert c.n_steps_of(command_config()) == 200
    assert c.n_steps_of(command_config(steps=None)) == 1
    assert c.n_steps_of(command_config(n_batches="many")) == 1


def test_settings_that_json_lacks_have_one_identity_before_and_after_a_record() -> None:
    config = command_config().changed({"clip": float("inf"), "names": {10: "a", 9: "b"}})
    assert (config.settings["clip"], config.settings["names"]) == (".inf", {"10": "a", "9": "b"})
    back = c.parse_document(json.loads(json.dumps(c.document_of(config), allow_nan=False)))
    assert back is not None and c.run_id(back, 0, "data") == c.run_id(config, 0, "data")
    assert config.document({"seed": 1})["clip"] == float("inf")


def test_a_text_with_braces_stays_as_it_was_recorded() -> None:
    config = command_config().changed({"kind": "\\${lr}"})
    assert config.settings["kind"] == "${lr}"
    back = c.parse_document(json.loads(json.dumps(c.document_of(config))))
    assert back is not None and c.flatten(back)["kind"] == "${lr}"
