"""The line of a file that a complaint is about."""

from pathlib import Path

import pytest

from decoder.yaml_lines import with_lines

TEXT = """\
name: x
factors:
  rate.of.noise:
    1e-3: {optim.lr_max: 0.1}
    low:
      optim.lr_max: 0.2
      model.n_units: 3
seeds: [1,
  2,
  3]
common: &common
  a: 1
uses:
  <<: *common
  b: 2
profiles:
  fast:
    seeds: [9]
"""


@pytest.mark.parametrize(
    ("complaint", "line"),
    [
        ("name: is wrong", 1),
        ("factors.rate.of.noise.low.model.n_units: is wrong", 7),
        ("factors.rate.of.noise.low: 'model.n_units' is no path", 7),
        ("factors.rate.of.noise.low: model.n_units: must be even", 7),
        ("factors.rate.of.noise: low.model.n_units: must be even", 7),
        ("factors.rate.of.noise.0.001: is wrong", 4),
        ("factors.rate.of.noise.absent: is wrong", 3),
        ("seeds.2: is wrong", 10),
        ("seeds: is wrong", 8),
        ("uses.a: is wrong", 12),
        ("uses.b: is wrong", 15),
        ("arm high: model.n_units must be even", 7),  # the only key of this name
        ("arm high: optim.lr_max must be even", None),  # one of two
        ("question: this key is required, but missing; add it", None),
    ],
)
def test_a_complaint_has_the_line_of_the_deepest_key_on_its_path(
    tmp_path: Path, complaint: str, line: int | None
) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(TEXT)
    place = str(path) if line is None else f"{path}:{line}"
    assert with_lines([f"{path}: {complaint}"], path) == (f"{place}: {complaint}",)


def test_a_key_that_a_profile_replaces_has_the_line_in_the_profile(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(TEXT)
    problems = [f"{path}: seeds.0: is wrong", f"{path}: name: is wrong"]
    found = with_lines(problems, path, ("profiles", "fast"))
    assert [text.removeprefix(f"{path}:").partition(":")[0] for text in found] == ["18", "1"]


def test_complaints_about_other_files_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(TEXT)
    assert with_lines(["base.yaml: name: is wrong"], path) == ("base.yaml: name: is wrong",)
    assert with_lines([f"{path}: name: x"], tmp_path / "gone.yaml") == (f"{path}: name: x",)
