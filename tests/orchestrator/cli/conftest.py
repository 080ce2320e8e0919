"""Fixtures of two stored ablations; see `stored_pairs`."""

from stored_pairs import other_code as other_code
from stored_pairs import shared as shared
from stored_pairs import truth_of as truth_of
