"""Words of other trainers for the fields of a configuration."""

from decoder.config import config_paths
from decoder.slips import PATHS, field_hint


def test_every_word_leads_to_a_field_that_there_is() -> None:
    assert set(PATHS.values()) <= set(config_paths())


def test_the_word_of_another_trainer_leads_to_our_field() -> None:
    assert field_hint("Learning-Rate") == "; write optim.lr_max"
    assert field_hint("hidden size") == "; write model.n_units"


def test_our_own_names_and_unknown_ones_lead_nowhere() -> None:
    assert field_hint("n_units") == "" and field_hint("zzz") == ""
