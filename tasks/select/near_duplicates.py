"""Which crops show the same, and which photos are the same: exact Hamming neighbours of 64-bit perceptual hashes.

The big sources share photos (COCO, Open Images, Objects365 and VOC all collected from Flickr), so neighbours are
looked for across all of them. What counts as a near-duplicate is a relation between two; a *group* is a connected
component of it: A and C are in one group if both resemble B, however little A resembles C. To keep such chains short,
crops are grouped among those alone that may be chosen, and a flat picture, whose hash says nothing, is linked only to
pictures of exactly that hash.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_BITS = 64
MAX_LIMIT_BITS = 11
"""Unrelated pictures are 32 bits apart on average, but 1 of 100,000,000 pairs is within 10."""
SAME_PERSON_IOU = 0.5
"""Two annotations of one person give squares that overlap much more, neighbours in a photo squares that do less."""

# The median splits the 64 coefficients in halves. Far from that only if many of them are equal, that is 0: a flat
# picture, a plain edge or a gradient.
_INFORMATIVE_BITS = (16, 48)

# Below this, comparing everything with everything is faster than building tables (measured on one core).
_FLAT_SEARCH_UP_TO = 50_000
# From this limit on the tables would need so many bit flips that comparing everything is faster again.
_FLAT_SEARCH_FROM_BITS = 9
_QUERIES_AT_A_TIME = 16_384
_PAIRS_AT_A_TIME = 1 << 20


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number of different bits of uint64 hashes, element by element; 0 to 64."""
    return np.bitwise_count(a ^ b).astype(np.int64)


def is_informative(hashes: np.ndarray) -> np.ndarray:
    """Whether each uint64 hash tells something about its picture; that of a flat one or a plain edge does not."""
    low, high = _INFORMATIVE_BITS
    bits = np.bitwise_count(hashes)
    return (bits >= low) & (bits <= high)


def neighbours(hashes: np.ndarray, limit_bits: int) -> np.ndarray:
    """All pairs of different hashes that are at most `limit_bits` apart, (P, 2) indices i < j, sorted.

    Exact, by FAISS. Small sets are compared one with all. For large ones each hash is cut into k = 3 pieces of 21 bits
    and looked up by each piece with up to f bits of it flipped: of two hashes that differ in d bits, some piece differs
    in no more than d // 3 bits, so f = limit // 3 misses nothing. (The 64th bit is in no piece; FAISS compares all 64
    bits of what it looked up.)

    Args:
        hashes: (N,) uint64, each once; else the pairs of N equal hashes would be N² many.
        limit_bits: inclusive, 0 to MAX_LIMIT_BITS.
    """
    assert 0 <= limit_bits <= MAX_LIMIT_BITS
    codes = _codes(hashes)
    if len(codes) <= _FLAT_SEARCH_UP_TO or limit_bits >= _FLAT_SEARCH_FROM_BITS:
        index: faiss.IndexBinary = faiss.IndexBinaryFlat(HASH_BITS)
    else:
        tables = faiss.IndexBinaryMultiHash(HASH_BITS, 3, 21)
        tables.nflip = limit_bits // 3
        index = tables
    index.add(codes)
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(codes), _QUERIES_AT_A_TIME):
        bounds, _, theirs = index.range_search(codes[start : start + _QUERIES_AT_A_TIME], limit_bits + 1)  # exclusive
        ours = start + np.repeat(np.arange(len(bounds) - 1), np.diff(bounds).astype(np.int64))
        found.append(np.column_stack([ours, theirs])[ours < theirs])
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def nearest(hashes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of N hashes the index of the nearest of M others, and how many bits apart they are; M at least 1.

    Exact: everything is compared with everything, a billion pairs in 7 s of one core.
    """
    index = faiss.IndexBinaryFlat(HASH_BITS)
    index.add(_codes(others))
    distance, at = index.search(_codes(hashes), 1)
    return at[:, 0], distance[:, 0].astype(np.int64)


def _codes(hashes: np.ndarray) -> np.ndarray:
    """Hashes as FAISS wants them: (N, 8) bytes."""
    return np.ascontiguousarray(hashes, "<u8").view(np.uint8).reshape(-1, HASH_BITS // 8)


def components(num: int, pairs: np.ndarray) -> np.ndarray:
    """The smallest member of the connected component of each of `num` nodes; `pairs` are the edges, (P, 2)."""
    edges = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(num, num))
    _, component = connected_components(edges, directed=False)
    _, smallest = np.unique(component, return_index=True)
    return smallest[component]


@dataclass(frozen=True)
class HashedPictures:
    """Hashes of many pictures, and which of their different values are near each other."""

    number: np.ndarray  # picture → number of its hash
    num_hashes: int
    pairs: np.ndarray  # of hash numbers, both informative
    informative: np.ndarray  # hash number → does it say anything

    @classmethod
    def of(cls, hashes: np.ndarray, limit_bits: int) -> "HashedPictures":
        """Search the neighbours of every hash; (N,) uint64, inclusive limit."""
        values, number = np.unique(hashes, return_inverse=True)
        informative = is_informative(values)
        candidates = np.flatnonzero(informative)
        pairs = candidates[neighbours(values[candidates], limit_bits)]
        return cls(number, len(values), pairs, informative)

    def groups(self, among: np.ndarray, more_pairs: np.ndarray | None = None) -> np.ndarray:
        """The smallest member of each picture's near-duplicate group; pictures not in `among` stay alone.

        Args:
            among: (N,) bool; only these take part, also as links of a chain.
            more_pairs: (Q, 2) pairs of pictures that are near-duplicates for another reason.
        """
        num = len(self.number)
        members = np.flatnonzero(among)
        # Every hash is a node too, behind all pictures: m equal pictures need m edges then, not m².
        present = np.zeros(self.num_hashes, bool)
        present[self.number[members]] = True
        edges = [
            np.column_stack([members, num + self.number[members]]),
            num + self.pairs[present[self.pairs].all(axis=1)],
        ]
        if more_pairs is not None:
            edges.append(more_pairs[among[more_pairs].all(axis=1)])
        return components(num + self.num_hashes, np.concatenate(edges))[:num]


def same_person_pairs(
    photos: HashedPictures, photo_of: np.ndarray, squares: np.ndarray, among: np.ndarray
) -> np.ndarray:
    """Pairs of crops, (Q, 2) with i < j, cut around the same person from two copies of one photo.

    The photos are different, but within the limit that `photos` was searched with; the squares overlap with an IoU of
    at least SAME_PERSON_IOU. Two crops of the same photo never pair, nor do crops of photos without information.

    Args:
        photos: the hashes of each crop's photo.
        photo_of: (N,) which photo each crop comes from.
        squares: (N, 4) x_min, y_min, x_max, y_max as shares of the photo's width and height, since copies differ in
            size.
        among: (N,) bool; only these crops are looked at.
    """
    members = np.flatnonzero(among & photos.informative[photos.number])
    members = members[np.argsort(photos.number[members], kind="stable")]
    count = np.bincount(photos.number[members], minlength=photos.num_hashes)
    start = np.cumsum(count) - count
    equal = np.flatnonzero(count > 1)
    hash_pairs = np.concatenate([np.column_stack([equal, equal]), photos.pairs])
    found = [np.empty((0, 2), np.int64)]
    for k, which in _crossed(count[hash_pairs[:, 0]] * count[hash_pairs[:, 1]]):
        u, v = hash_pairs[which].T
        i, j = members[start[u] + k // count[v]], members[start[v] + k % count[v]]
        once = (photo_of[i] != photo_of[j]) & ((u != v) | (i < j))
        i, j = i[once], j[once]
        same = iou(squares[i], squares[j]) >= SAME_PERSON_IOU
        found.append(np.sort(np.column_stack([i[same], j[same]]), axis=1))
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _crossed(sizes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Count through blocks of the given sizes, a limited number at a time: index within the block, number of it."""
    ends = np.cumsum(sizes)
    for first in range(0, int(ends[-1]) if len(ends) else 0, _PAIRS_AT_A_TIME):
        flat = np.arange(first, min(first + _PAIRS_AT_A_TIME, int(ends[-1])))
        block = np.searchsorted(ends, flat, side="right")
        yield flat - (ends[block] - sizes[block]), block


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, (N, 4) each, pair by pair; 0 to 1."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    return shared / (np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1) - shared)
