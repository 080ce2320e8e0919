"""Random numbers as a function of (seed, purpose, step): nothing to carry, nothing to restore.

Every draw of a run comes from a generator made for it alone. So the runs of a pack see what they
would see alone, a purpose that is switched off takes no numbers from another, and a resumed run
continues exactly.
"""

import hashlib

import torch


def generator(seed: int, purpose: str, step: int = 0, device: str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose at one step.

    Args:
        seed: the run's seed.
        purpose: what is drawn, for instance ``white_noise``.
        step: the optimizer step it is drawn for.
        device: where the numbers are wanted; CPU and GPU streams differ.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)
