import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.select import near_duplicates
from tasks.select.near_duplicates import HashedPictures, components, hamming, iou, neighbours, same_person_pairs


def brute_force(hashes, limit_bits):
    distance = hamming(hashes[:, None], hashes[None, :])
    i, j = np.nonzero(distance <= limit_bits)
    return np.column_stack([i, j])[i < j]


def planted(rng, num, limit_bits):
    """Random hashes, and as many again a few bits away from them."""
    hashes = rng.integers(0, 2**64, num, dtype=np.uint64)
    near = hashes.copy()
    for k in range(num):
        for bit in rng.choice(64, rng.integers(0, limit_bits + 3), replace=False):
            near[k] ^= np.uint64(1) << np.uint64(bit)
    return np.unique(np.concatenate([hashes, near]))


@pytest.mark.parametrize("limit_bits", [0, 1, 2, 3, 5, 6, 8, 9, 11])
@pytest.mark.parametrize("tables", [False, True])
def test_neighbours_are_exactly_those_of_brute_force(limit_bits, tables, monkeypatch):
    if tables:
        monkeypatch.setattr(near_duplicates, "_FLAT_SEARCH_UP_TO", 0)
        monkeypatch.setattr(near_duplicates, "_QUERIES_AT_A_TIME", 100)
    hashes = planted(np.random.default_rng(limit_bits), 300, limit_bits)
    expected = brute_force(hashes, limit_bits)
    assert limit_bits == 0 or len(expected) > 50
    assert np.array_equal(neighbours(hashes, limit_bits), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=14))
def test_components_are_named_by_their_smallest_member(num, edges):
    edges = [(a % num, b % num) for a, b in edges]
    label = list(range(num))
    for _ in range(num):
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    assert components(num, np.array(edges, np.int64).reshape(-1, 2)).tolist() == label


def test_a_long_chain_is_one_component():
    order = np.random.default_rng(0).permutation(50_000)
    assert not components(50_000, np.column_stack([order[:-1], order[1:]])).any()


HASH = 0x5555_5555_5555_5555  # 32 bits set


def test_groups_chain_only_through_members():
    a, b, c = HASH, HASH ^ 0b1111, HASH ^ 0b1111_1111
    pictures = HashedPictures.of(np.array([a, b, c, b], np.uint64), limit_bits=4)
    assert pictures.groups(np.array([True, True, True, True])).tolist() == [0, 0, 0, 0]
    assert pictures.groups(np.array([True, False, True, False])).tolist() == [0, 1, 2, 3]
    assert pictures.groups(np.array([False, True, True, True])).tolist() == [0, 1, 1, 1]


def test_a_flat_picture_resembles_only_its_equals():
    flat, gradient = 1 << 63, (1 << 63) | (1 << 47)
    pictures = HashedPictures.of(np.array([flat, gradient, flat, 0], np.uint64), limit_bits=6)
    assert pictures.groups(np.ones(4, bool)).tolist() == [0, 1, 0, 3]


def test_same_person_pairs_match_a_plain_loop(monkeypatch):
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_A_TIME", 7)
    rng = np.random.default_rng(3)
    num, limit = 60, 3
    photo = rng.integers(0, 20, num)
    hash_of_photo = np.array([HASH ^ int(bits) for bits in rng.integers(0, 64, 20)], np.uint64)
    corner = rng.integers(0, 3, (num, 2)) / 10
    squares = np.column_stack([corner, corner + 0.5])
    among = rng.random(num) < 0.8
    photos = HashedPictures.of(hash_of_photo[photo], limit)
    expected = [
        [i, j]
        for i in range(num)
        for j in range(i + 1, num)
        if among[i]
        and among[j]
        and photo[i] != photo[j]
        and hamming(hash_of_photo[photo[i]], hash_of_photo[photo[j]]) <= limit
        and iou(squares[i : i + 1], squares[j : j + 1])[0] >= 0.5
    ]
    assert 20 < len(expected) < num * num / 4
    assert same_person_pairs(photos, photo, squares, among).tolist() == expected
