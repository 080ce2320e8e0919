"""What CTC needs to align a target at all."""

import numpy as np
from numpy.typing import NDArray

# Training refuses a split of which a larger share has no alignment: something is wrong with it.
MAX_SHARE_TOO_LONG = 0.01


def n_patches_needed(target: NDArray[np.int64]) -> int:
    """Patches that CTC needs at least: one a label, and a blank between equal neighbours.

    Args:
        target: (L,) classes; may be empty, which needs none.
    """
    return len(target) + int((target[1:] == target[:-1]).sum())
