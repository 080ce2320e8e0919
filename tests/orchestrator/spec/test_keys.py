"""`orchestrator.spec.keys`: a base is found beside the file, or among the bases that ship."""

from collections.abc import Callable
from pathlib import Path

import pytest
from shipped import ABLATIONS, BASES

from decoder.config import load_config
from decoder.errors import ConfigError
from orchestrator.search.load import load_search
from orchestrator.spec import keys
from orchestrator.spec.load import load_spec

WriteSpec = Callable[..., Path]


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
def test_a_base_that_ships_is_found_from_a_file_anywhere(write_spec: WriteSpec, base: Path) -> None:
    loaded = keys.load_base(write_spec(), f"base/{base.name}")
    assert loaded == load_config(base)


def test_a_file_beside_the_ablation_comes_before_one_that_ships(write_spec: WriteSpec) -> None:
    path = write_spec({"base": "base/t15_small.yaml"})
    shipped = load_config(ABLATIONS / "base" / "t15_small.yaml")
    assert load_spec(path).base == shipped
    (path.parent / "base").mkdir()
    (path.parent / "base.yaml").rename(path.parent / "base" / "t15_small.yaml")
    assert load_spec(path).base != shipped


def test_a_profile_and_a_search_find_it_as_well(write_spec: WriteSpec, tmp_path: Path) -> None:
    path = write_spec({"profiles": {"full": {"base": "base/t15_official.yaml"}}})
    official = load_config(ABLATIONS / "base" / "t15_official.yaml")
    assert load_spec(path, "full").base == official != load_spec(path).base
    mine = tmp_path / "mine.yaml"
    mine.write_bytes((ABLATIONS / "lr_search.yaml").read_bytes())
    assert load_search(mine).base == load_config(ABLATIONS / "base" / "t15_small.yaml")


def test_both_places_are_named_where_there_is_no_such_base(write_spec: WriteSpec) -> None:
    path = write_spec({"base": "base/t15_smal.yaml"})
    with pytest.raises(ConfigError) as caught:
        load_spec(path)
    (text,) = [problem for problem in caught.value.problems if "base:" in problem]
    for place in (path.parent, ABLATIONS):
        assert str(place / "base" / "t15_smal.yaml") in text
    assert "'t15_small.yaml'" in text


def test_a_whole_path_has_one_place_only(write_spec: WriteSpec, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        keys.load_base(write_spec(), str(tmp_path / "bass.yaml"))
    assert str(caught.value).count("bass.yaml") == 2  # as written, and where it was looked for
    assert "'base.yaml'" in str(caught.value)


@pytest.mark.parametrize(
    "content", ["num_training_batches: 9\nlr_max: 0.01\nmodel: {n_units: 8}", "nUnits: 8"]
)
def test_a_base_of_another_trainer_is_one_problem_that_says_how_to_translate_it(
    write_spec: WriteSpec, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "rnn_args.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        keys.load_base(write_spec(), str(file))
    [problem] = caught.value.problems
    assert f"import-config {file}" in problem
    file.write_text("model: {n_units: 8}\ndropout: 0.4")  # ours, with a key in the wrong place
    with pytest.raises(ConfigError, match="model.rnn_dropout"):
        keys.load_base(write_spec(), str(file))


def test_an_installation_without_the_bases_says_so(
    write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "shipped_ablations", lambda: None)
    with pytest.raises(ConfigError, match="installation"):
        keys.load_base(write_spec(), "base/t15_small.yaml")
