"""What CTC needs to align a target at all."""

import numpy as np
from numpy.typing import NDArray


def n_patches_needed(target: NDArray[np.int64]) -> int:
    """Patches that CTC needs at least: one a label, and a blank between equal neighbours.

    Args:
        target: (L,) classes; may be empty, which needs none.
    """
    return len(target) + int((target[1:] == target[:-1]).sum())
