"""Random numbers that belong to one item, not to the process, worker or order in which it is worked on."""

import hashlib

import numpy as np

from storage.digest import canonical_json


def item_rng(*key: str | int) -> np.random.Generator:
    """A generator that `key` alone decides, such as a purpose, a seed, an epoch and a crop id."""
    seed = hashlib.blake2b(canonical_json(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
