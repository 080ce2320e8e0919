"""Random generators as a function of (seed, purpose, step), without any state to save or restore.

Every draw has its own generator. Therefore the runs of a pack get the same numbers as they would
alone, switching one purpose off does not change the numbers of another, and a resumed run
continues exactly.
"""

import hashlib

import torch


def generator(seed: int, purpose: str, step: int = 0, device: str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose at one step.

    Args:
        seed: the run's seed.
        purpose: what is drawn, for instance ``white_noise``.
        step: the optimizer step of the draw.
        device: the device of the numbers. CPU and GPU give different streams.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)
