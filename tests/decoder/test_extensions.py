"""Files of the user's parts: what they register, their parameters, and the identity of runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from user_parts import GOOD, using, with_parts

from decoder import extensions
from decoder.config import (
    DecoderConfig,
    identity,
    idle_paths,
    load_config,
    override,
    pack_key,
    resolve,
    run_id,
    with_extensions,
)
from decoder.errors import ConfigError
from decoder.extensions import load_extensions, used_by

HEAD = "from decoder.parts import *\n"


def complaints(call: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def test_a_parameter_has_a_path_a_default_and_a_type(tmp_path: Path) -> None:
    config = with_parts(tmp_path)
    assert config.parts["mix.p"] == 0.25 and config.parts["mix.use"] is False
    assert override(config, {"parts.mix.p": 0.5}).parts["mix.p"] == 0.5
    text = complaints(lambda: override(config, {"parts.mix.p": 1.5, "parts.back.width": "wide"}))
    assert "override: parts.mix.p: must be below 1, but got 1.5" in text
    assert "override: parts.back.width: must be a whole number, but got 'wide'" in text
    assert "did you mean 'parts.mix.p'?" in complaints(
        lambda: override(config, {"parts.mixx.p": 0.5})
    )
    assert "parts.mix.kind: must be 'augmentation'" in complaints(
        lambda: override(config, {"parts.mix.kind": "loss"})
    )


def test_mistakes_in_a_configuration_file_are_named_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "my_parts.py").write_text(GOOD)
    file = tmp_path / "base.yaml"
    file.write_text(
        "extensions: [my_parts.py]\nparts:\n  mix: {use: true, p: 2.0,\n    q: 1}\n  mixx: {}\n"
        "  front: yes\n  tops: {use: true}\noptim: {lrr: 1}\n"
    )
    lines = complaints(lambda: load_config(file)).splitlines()
    assert any(line.startswith(f"{file}:3: parts.mix.p: must be below 1") for line in lines)
    assert any(line.startswith(f"{file}:4: parts.mix.q: unknown key 'q'") for line in lines)
    assert any("unknown part 'tops'" in line and "mix, front, back" in line for line in lines)
    assert any(line.startswith(f"{file}:6: parts.front: must be a mapping") for line in lines)
    assert any(line.startswith(f"{file}:8: optim.lrr") for line in lines)


def test_parts_without_a_file_are_refused() -> None:
    text = complaints(lambda: override(DecoderConfig(), {"parts.mix.p": 0.5}))
    assert "'parts.mix.p' is no config field" in text


def test_a_part_that_is_not_used_leaves_a_run_as_it_was(tmp_path: Path) -> None:
    config = with_parts(tmp_path)
    plain = config.model_copy(update={"extensions": {}, "parts": {}, "files": {}})
    assert run_id(config, 1, "data") == run_id(plain, 1, "data")
    assert run_id(using(config, "mix"), 1, "data") != run_id(plain, 1, "data")
    other = override(config, {"parts.mix.p": 0.5})
    assert run_id(other, 1, "data") == run_id(plain, 1, "data")
    assert "parts.mix.p" in idle_paths(other)
    assert pack_key(other) == pack_key(config)


def test_another_content_of_the_file_is_another_run(tmp_path: Path) -> None:
    one = using(with_parts(tmp_path), "mix")
    two = using(with_parts(tmp_path, GOOD + "\n# another\n"), "mix")
    assert run_id(one, 1, "data") != run_id(two, 1, "data")
    assert pack_key(one) != pack_key(two)
    assert identity(one)["files.0"] != identity(two)["files.0"]
    (tmp_path / "elsewhere").mkdir()
    three = using(with_parts(tmp_path / "elsewhere"), "mix")
    assert run_id(one, 1, "data") == run_id(three, 1, "data"), "the folder does not count"


def test_a_list_in_a_file_stands_for_a_tuple(tmp_path: Path) -> None:
    head = f"{HEAD}from decoder.parts import Parameters, layer\nclass P(Parameters):\n"
    rest = "\n@layer('one', P, place='after')\ndef f(n, p):\n    raise NotImplementedError\n"
    file = tmp_path / "tuples.py"
    file.write_text(
        f"{head}    sizes: tuple[Width, ...] = (3, 5)\n    last: int | None = None{rest}"
    )
    (tmp_path / "base.yaml").write_text(
        "extensions: [tuples.py]\nparts: {one: {use: true, sizes: [7], last: 2}}\n"
    )
    config = load_config(tmp_path / "base.yaml")
    [used] = used_by([config])
    assert used.runs[0].model_dump() == {"sizes": (7,), "last": 2}
    assert config == DecoderConfig.model_validate_json(config.model_dump_json())
    wrong = {"parts.one.sizes": [7, 0], "parts.one.last": "2"}
    text = complaints(lambda: override(config, wrong))
    assert "parts.one.sizes.1: must be" in text and "parts.one.last" in text
    file.write_text(f"{head}    sizes: list[int] = [3]{rest}")
    assert "tuple[int, ...]" in complaints(
        lambda: with_extensions(DecoderConfig(), [str(file)], tmp_path)
    )


TWO = "@augmentation('{}')\ndef f(x, n, runs, g):\n    return x {}\n"


def test_the_order_of_files_is_part_of_a_run_and_how_they_are_written_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "add.py").write_text(HEAD + TWO.format("add", "+ 1"))
    (tmp_path / "sub/twice.py").write_text(HEAD + TWO.format("twice", "* 2"))

    def of(*files: str, folder: Path = tmp_path) -> DecoderConfig:
        return using(with_extensions(DecoderConfig(), files, folder), "add", "twice")

    one, two = of("add.py", "sub/twice.py"), of("sub/twice.py", "add.py")
    assert run_id(one, 1, "data") != run_id(two, 1, "data"), "x + 1 doubled is not 2 x + 1"
    moved = of("../add.py", "./twice.py", folder=tmp_path / "sub")
    assert run_id(moved, 1, "data") == run_id(one, 1, "data")


def test_a_file_that_the_base_lists_too_is_loaded_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "add.py").write_text(HEAD + TWO.format("add", "+ 1"))
    (tmp_path / "sub/add.py").write_text(HEAD + TWO.format("more", "+ 2"))
    base = with_extensions(DecoderConfig(), ["../add.py"], tmp_path / "sub")
    again = with_extensions(base, ["add.py", "./add.py"], tmp_path)
    assert list(again.extensions.items()) == [("../add.py", str(tmp_path / "add.py"))]
    text = complaints(lambda: with_extensions(base, ["../add.py"], tmp_path / "sub/deep"))
    assert str(tmp_path / "add.py") in text and str(tmp_path / "sub/add.py") in text
    both = with_extensions(base, ["./../add.py"], tmp_path / "sub/deep")
    assert set(both.parts) == {f"{name}.{key}" for name in ("add", "more") for key in USE_AND_KIND}
    (tmp_path / "base.yaml").write_text("extensions: [add.py, sub/../add.py]\n")
    assert "listed twice" in complaints(lambda: load_config(tmp_path / "base.yaml"))


USE_AND_KIND = ("use", "kind")


def test_only_parameters_marked_so_may_differ_in_a_pack(tmp_path: Path) -> None:
    config = using(with_parts(tmp_path), "mix")
    assert pack_key(config) == pack_key(override(config, {"parts.mix.p": 0.5}))
    assert pack_key(config) != pack_key(override(config, {"parts.mix.shift": 2}))


def test_an_encoder_leaves_the_layers_of_ours_without_effect(tmp_path: Path) -> None:
    config = using(with_parts(tmp_path), "gru")
    wider = override(config, {"model.n_units": 9, "model.architecture": "lstm"})
    assert run_id(config, 1, "data") == run_id(wider, 1, "data")
    assert {"model.n_units", "model.rnn_dropout"} <= idle_paths(config)
    assert "gru and packed are encoders" in complaints(lambda: using(config, "packed"))
    assert "model.inter_ctc_layers" in complaints(
        lambda: override(config, {"model.n_layers": 2, "model.inter_ctc_layers": [1]})
    )


def test_a_recorded_configuration_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(using(with_parts(tmp_path), "mix", "gru"))
    whole = (run_id(config, 1, "data"), identity(config))
    text = config.model_dump_json()
    monkeypatch.setattr(extensions, "_loaded", {})
    (tmp_path / "my_parts.py").write_text("raise SystemError('it ran')")
    read = DecoderConfig.model_validate_json(text)
    assert (run_id(read, 1, "data"), identity(read)) == whole
    assert override(read, {"optim.lr_max": 0.1}).parts == config.parts
    assert json.loads(text)["parts"]["mix.p"] == 0.25


def test_a_file_that_changed_since_the_plan_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = using(with_parts(tmp_path), "mix")
    monkeypatch.setattr(extensions, "_loaded", {})
    (tmp_path / "my_parts.py").write_text(GOOD + "\n# another\n")
    text = complaints(lambda: load_extensions(config))
    assert str(tmp_path / "my_parts.py") in text and config.files["my_parts.py"][:12] in text
    (tmp_path / "my_parts.py").unlink()
    assert "No such file" in complaints(lambda: load_extensions(config))
    (tmp_path / "my_parts.py").write_text(GOOD)
    assert list(load_extensions(config)) == list(
        dict.fromkeys(p.split(".")[0] for p in config.parts)
    )


def test_what_a_file_imports_from_beside_it_must_be_listed(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("WIDTH = 3\n")
    (tmp_path / "mine.py").write_text(
        f"{HEAD}from beside_it import WIDTH\nclass P(Parameters):\n    width: Width = WIDTH\n"
        "@layer('one', P, place='after')\ndef one(n_inputs, p): ...\n"
    )
    text = complaints(lambda: with_extensions(DecoderConfig(), ["mine.py"], tmp_path))
    assert "beside_it.py" in text and "extensions: [beside_it.py, ...]" in text
    both = with_extensions(DecoderConfig(), ["beside_it.py", "mine.py"], tmp_path)
    assert both.parts["one.width"] == 3 and set(both.files) == {"beside_it.py", "mine.py"}
    (tmp_path / "beside_it.py").write_text("WIDTH = 4\n")
    again = with_extensions(DecoderConfig(), ["beside_it.py", "mine.py"], tmp_path)
    assert again.parts["one.width"] == 4


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = 1\ndef f(:\n", 2, "invalid syntax"),
        ("import no_such_module\n", 1, "ModuleNotFoundError"),
        ("x = 1\n\nraise ValueError('why')\n", 3, "ValueError: why"),
        ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
        (f"{HEAD}@loss('Bad-Name')\ndef f(): ...\n", 2, "lower-case letters"),
        (f"{HEAD}@loss('a', int)\ndef f(): ...\n", 2, "inherits from decoder.parts.Parameters"),
        (
            f"{HEAD}class P(Parameters):\n    w: Width\n@loss('a', P)\ndef f(): ...\n",
            4,
            "no default",
        ),
        (
            f"{HEAD}class P(Parameters):\n    use: bool = True\n@loss('a', P)\ndef f(): ...\n",
            4,
            "'use'",
        ),
        (f"{HEAD}class P(Parameters):\n    w: Width = 0\n@loss('a', P)\ndef f(): ...\n", 4, "'w'"),
        (
            f"{HEAD}@loss('a')\ndef f(): ...\n@loss('a')\ndef g(): ...\n",
            4,
            "registers this name too",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    found = complaints(lambda: with_parts(tmp_path, text))
    assert f"{tmp_path / 'my_parts.py'}:{line}: " in found and said in found


def test_a_list_of_extensions_must_name_files(tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    for given, said in (("a.py", "must be a list"), ("[a.py, a.py]", "twice"), ("[b.py]", "b.py")):
        file.write_text(f"extensions: {given}\n")
        text = complaints(lambda: load_config(file))
        assert text.startswith(f"{file}:1: extensions: ") and said in text
