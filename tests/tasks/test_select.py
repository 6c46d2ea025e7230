import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import zscore

from storage.digest import digest
from storage.reasons import Reason
from storage.store import Store
from tasks.select.review_effect import best_limit, review_effect
from tasks.select.select import select, selected_shards
from tasks.select.verdicts import CropTable, SelectConfig, choose, in_top_share, scores
from tests.fake_shards import LOWER_IS_BETTER, crop_row, flipped, random_hashes, two_sources, write_shard

ALL = SelectConfig(top_share=1.0)


def candidates(values, **columns):
    """Crops that have nothing in common, ids in ascending order."""
    num = len(next(iter(values.values())))
    unlike = {
        "crop_id": np.array([f"c{i:04d}" for i in range(num)], object),
        "photo": np.arange(num),
        "photo_phash": np.array(random_hashes(num, 1), np.uint64),
        "crop_phash": np.array(random_hashes(num, 2), np.uint64),
        "square": np.tile([0.2, 0.2, 0.6, 0.6], (num, 1)),
    }
    return CropTable(**{**unlike, **columns}, values={name: np.array(v, float) for name, v in values.items()})


def test_score_is_equation_1():
    # niqe: mean 4, population std sqrt(8/3); clipiqa: mean 0.5, std sqrt(0.02/3)
    crops = candidates({"niqe": [2, 4, 6], "clipiqa": [0.4, 0.6, 0.5]})
    by_hand = [
        (2 / math.sqrt(8 / 3) - 0.1 / math.sqrt(0.02 / 3)) / 2,
        (0 + 0.1 / math.sqrt(0.02 / 3)) / 2,
        (-2 / math.sqrt(8 / 3) + 0) / 2,
    ]
    assert scores(crops, LOWER_IS_BETTER) == pytest.approx(by_hand)


def test_score_agrees_with_scipy_and_leaves_out_what_is_not_scored():
    rng = np.random.default_rng(0)
    niqe, clipiqa = rng.normal(5, 2, 1000), rng.random(1000)
    niqe[::10] = np.nan
    score = scores(candidates({"niqe": niqe, "clipiqa": clipiqa}), LOWER_IS_BETTER)
    there = ~np.isnan(niqe)
    assert score[there] == pytest.approx((zscore(clipiqa[there]) - zscore(niqe[there])) / 2)
    assert np.isnan(score[~there]).all()


def test_a_metric_that_is_the_same_everywhere_counts_nothing():
    score = scores(candidates({"niqe": [0.1] * 7, "clipiqa": [1, 2, 3, 4, 5, 6, 7]}), LOWER_IS_BETTER)
    assert score == pytest.approx(zscore(range(7)) / 2)


@pytest.mark.parametrize(
    ("num", "share", "expected"), [(9, 1 / 3, 3), (10, 1 / 3, 4), (30, 0.1, 3), (5, 1.0, 5), (1, 0.01, 1), (0, 0.5, 0)]
)
def test_top_share_is_rounded_up_and_ties_go_by_crop_id(num, share, expected):
    assert np.flatnonzero(in_top_share(np.zeros(num), share)).tolist() == list(range(expected))


def test_limits_point_the_right_way_and_the_first_in_the_configuration_is_the_reason():
    crops = candidates({"niqe": [3, 4, 4.5, 9], "clipiqa": [0.5, 0.6, 0.7, 0.1]})
    choice = choose(crops, LOWER_IS_BETTER, ALL.model_copy(update={"limits": {"niqe": 4.0, "clipiqa": 0.6}}))
    assert choice.reason.tolist() == [Reason.METRIC_LIMIT, None, Reason.METRIC_LIMIT, Reason.METRIC_LIMIT]
    assert choice.metric.tolist() == ["clipiqa", None, "niqe", "niqe"]
    assert choice.value[[0, 2, 3]].tolist() == [0.5, 4.5, 9]
    assert choice.limit[[0, 2, 3]].tolist() == [0.6, 4.0, 4.0]
    other_order = choose(crops, LOWER_IS_BETTER, ALL.model_copy(update={"limits": {"clipiqa": 0.6, "niqe": 4.0}}))
    assert other_order.metric.tolist() == ["clipiqa", None, "niqe", "clipiqa"]


def test_every_reason_in_its_turn():
    crops = candidates({"niqe": [1, np.nan, 2, 3, 9], "clipiqa": [0.9, 1, 0.8, 0.3, 1.2]})
    config = SelectConfig(top_share=0.5, limits={"niqe": 5})
    choice = choose(crops, LOWER_IS_BETTER, config)
    assert choice.reason.tolist() == [None, Reason.NOT_SCORED, None, Reason.BELOW_TOP_SHARE, Reason.METRIC_LIMIT]
    assert choice.value[3] == choice.score[3] < choice.limit[3] == choice.threshold == choice.score[[0, 2]].min()


def planted():
    """Crop, its hash's neighbour, the same person in a photo's copy, his neighbour there, and a stranger."""
    photo, copy = random_hashes(1, 5)[0], flipped(random_hashes(1, 5)[0], 1, 2, 3)
    crop, *others = random_hashes(5, 6)
    photo_hashes = np.array([photo, *random_hashes(1, 8), copy, copy, *random_hashes(1, 9)], np.uint64)
    crop_hashes = np.array([crop, flipped(crop, 7, 9), others[0], others[1], others[2]], np.uint64)
    squares = np.array([[0.1, 0.1, 0.5, 0.5]] * 2 + [[0.12, 0.1, 0.5, 0.5], [0.5, 0.1, 0.9, 0.5], [0.1, 0.1, 0.5, 0.5]])
    return {
        "photo": np.array([0, 1, 2, 2, 3]),
        "photo_phash": photo_hashes,
        "crop_phash": crop_hashes,
        "square": squares,
    }


def test_planted_near_duplicates():
    choice = choose(candidates({"clipiqa": [0.5, 0.4, 0.9, 0.1, 0.2]}, **planted()), {"clipiqa": False}, ALL)
    assert choice.reason.tolist() == [Reason.NEAR_DUPLICATE, Reason.NEAR_DUPLICATE, None, None, None]
    assert choice.better.tolist() == [2, 2, -1, -1, -1]
    assert choice.duplicate_group.tolist() == [0, 0, 0, 3, 4]
    assert choice.photo_group.tolist() == [0, 1, 0, 0, 4]
    # Crop 0 and crop 2: two copies of one photo. Crop 1 resembles crop 2 through crop 0 only.
    assert (choice.metric[0], choice.value[0], choice.limit[0]) == ("photo_phash", 3, 6)
    assert (choice.metric[1], choice.limit[1]) == ("crop_phash", 6)
    assert choice.value[1] > 6


def test_what_fails_its_limit_neither_wins_nor_links():
    values = {"clipiqa": [0.5, 0.4, 0.9, 0.1, 0.2], "niqe": [9, 1, 1, 1, 1]}
    config = ALL.model_copy(update={"limits": {"niqe": 5.0}})
    choice = choose(candidates(values, **planted()), LOWER_IS_BETTER, config)
    assert choice.reason.tolist() == [Reason.METRIC_LIMIT, None, None, None, None]


def test_no_crops_at_all():
    choice = choose(candidates({"niqe": []}), {"niqe": True}, ALL)
    assert len(choice.kept) == 0 and math.isnan(choice.threshold)


def test_two_crops_of_one_photo_are_both_kept_however_they_overlap():
    same_photo = {"photo": np.zeros(2, int), "photo_phash": np.array(random_hashes(1) * 2, np.uint64)}
    assert choose(candidates({"niqe": [1, 2]}, **same_photo), {"niqe": True}, ALL).kept.all()


def test_equal_scores_keep_the_smaller_crop_id():
    twins = {"crop_phash": np.array(random_hashes(1) * 3, np.uint64)}
    assert choose(candidates({"niqe": [1, 1, 1]}, **twins), {"niqe": True}, ALL).better.tolist() == [-1, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    photo=st.lists(st.integers(0, 15), min_size=1, max_size=40),
    near=st.lists(st.integers(0, 15), min_size=16, max_size=16),
    val_size=st.integers(0, 45),
    seed=st.integers(0, 5),
)
def test_train_and_val_share_no_photo_and_no_photo_group(photo, near, val_size, seed):
    # Photo i is a near-duplicate of photo near[i].
    hashes = [flipped(random_hashes(1, near[i])[0], *range(i % 3)) for i in range(16)]
    crops = candidates(
        {"niqe": np.arange(len(photo)) % 7},
        photo=np.array(photo),
        photo_phash=np.array([hashes[i] for i in photo], np.uint64),
    )
    config = SelectConfig(top_share=0.7, val_size=val_size, seed=seed)
    choice = choose(crops, {"niqe": True}, config)
    val, train = choice.kept & choice.in_val, choice.kept & ~choice.in_val
    assert not set(choice.photo_group[val]) & set(choice.photo_group[train])
    assert not {near[photo[i]] for i in np.flatnonzero(val)} & {near[photo[i]] for i in np.flatnonzero(train)}
    room = min(
        val_size, choice.kept.sum() // 2
    )  # however large `val_size` is, half of what was kept is left to train on
    assert val.sum() <= room
    # What was left out of val would not have fitted.
    sizes = np.unique(choice.photo_group[train], return_counts=True)[1]
    assert not len(sizes) or val.sum() + sizes.min() > room


def rows_of(shards):
    return [row for shard in shards for row in shard.read("selection").to_pylist()]


def test_select_writes_a_verdict_for_every_crop_and_does_nothing_twice(tmp_path):
    store = Store(str(tmp_path))
    scored = two_sources(store)
    config = SelectConfig(top_share=0.5, limits={"niqe": 1.0}, val_size=3)
    shards = select(store, scored, LOWER_IS_BETTER, config)
    assert [shard.source for shard in shards] == ["coco", "voc"]
    for shard in shards:
        counts, rows = shard.report().counts["crop"], rows_of([shard])
        assert (
            counts.num_in
            == len(rows)
            == sum(s.crops.num_rows("crops") for s in scored if s.crops.source == shard.source)
        )
        assert counts.num_kept == sum(row["verdict"] == "kept" for row in rows)
        assert all((row["split"] is None) == (row["reason"] is not None) for row in rows)
    assert sum(row["split"] == "val" for row in rows_of(shards)) == 3
    niqe = next(row for row in shards[0].read("statistics").to_pylist() if row["metric"] == "niqe")
    assert niqe["limit"] == 1.0 and niqe["num_crops"] == 24
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert select(store, scored, LOWER_IS_BETTER, config) == shards
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written
    reordered = config.model_copy(update={"limits": {"niqe": 1.0, "clipiqa": -9.0}})
    backwards = config.model_copy(update={"limits": {"clipiqa": -9.0, "niqe": 1.0}})
    keys = {selected_shards(store, scored, LOWER_IS_BETTER, c)[0].key for c in (config, reordered, backwards)}
    assert len(keys) == 3


def test_a_crop_without_a_score_fails(tmp_path):
    store = Store(str(tmp_path))
    scored = write_shard(store, 0, [crop_row(0), crop_row(1)], {"niqe": {"c0000": 3.0}})
    (shard,) = select(store, [scored], {"niqe": True}, ALL)
    assert [(r["verdict"], r["reason"], r["metric"], r["score"]) for r in rows_of([shard])] == [
        ("kept", None, None, 0.0),
        ("failed", "not_scored", "niqe", None),
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(30)), cuts=st.sets(st.integers(1, 29), max_size=4), backwards=st.booleans())
def test_rows_in_any_order_and_shards_of_any_size_give_the_same_selection(tmp_path, order, cuts, backwards):
    rng = np.random.default_rng(0)
    shared = random_hashes(8, 3)
    rows = [crop_row(i, photo_id=f"p{i // 2}", crop_phash=shared[i % 8], photo_phash=shared[i // 4]) for i in range(30)]
    values = {name: {row["crop_id"]: float(rng.normal()) for row in rows} for name in LOWER_IS_BETTER}
    store = Store(str(tmp_path / digest(order, sorted(cuts), backwards)))
    bounds = [0, *sorted(cuts), 30]
    pieces = [[rows[k] for k in order[a:b]] for a, b in pairwise(bounds)]
    scored = [write_shard(store, number, piece, values) for number, piece in enumerate(pieces)]
    config = SelectConfig(top_share=0.8, limits={"niqe": 1.0}, val_size=4)
    (shard,) = select(store, scored[:: -1 if backwards else 1], LOWER_IS_BETTER, config)
    table = shard.read("selection").drop_columns(["shard"])  # which says where the crop lies
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table.combine_chunks())
    SEEN.add(digest(sink.getvalue().to_pybytes().hex()))
    assert len(SEEN) == 1


SEEN: set[str] = set()


def test_wrong_input_is_refused_in_a_sentence(tmp_path):
    store = Store(str(tmp_path))
    scored = two_sources(store)
    with pytest.raises(ValueError, match="nothing to select from"):
        select(store, [], LOWER_IS_BETTER, ALL)
    with pytest.raises(ValueError, match="occurs twice"):
        select(store, [scored[0], scored[0]], LOWER_IS_BETTER, ALL)
    with pytest.raises(ValueError, match="name the same metrics"):
        select(store, scored, {"niqe": True}, ALL)
    with pytest.raises(ValueError, match="'musiq', which was not computed"):
        select(store, scored, LOWER_IS_BETTER, ALL.model_copy(update={"limits": {"musiq": 50.0}}))
    without = replace(scored[0], scores={"niqe": scored[0].scores["niqe"]})
    with pytest.raises(ValueError, match="has scores of"):
        select(store, [without, *scored[1:]], LOWER_IS_BETTER, ALL)
    with pytest.raises(ValueError, match="less than or equal to 11"):
        SelectConfig(near_duplicate_crop_bits=12)


REVIEWABLE = {"niqe": [3, 9, 4, 8, 5, 6], "clipiqa": [0.9, 0.8, 0.7, 0.2, 0.6, 0.1]}


def said(*verdicts):
    return np.array(verdicts, object)


def test_people_overrule_soft_limits_but_neither_licence_nor_duplicates_nor_statistics():
    crops = candidates(
        REVIEWABLE,
        # Crops 0 and 2 show the same, and nobody may publish crop 4.
        crop_phash=np.array(random_hashes(6, 2), np.uint64)[[0, 1, 0, 3, 4, 5]],
        licence=np.array([["by", ""], ["by", ""], ["", "https://by"], ["by", ""], ["nd", ""], ["", ""]]),
        review=said(None, "keep", "keep", "drop", "keep", "keep"),
    )
    config = SelectConfig(top_share=0.5, limits={"niqe": 5.5}, allowed_licences=("by", "https://by"))
    choice = choose(crops, LOWER_IS_BETTER, config)
    by_itself = choose(replace(crops, review=None), LOWER_IS_BETTER, config)
    assert by_itself.reason.tolist() == [
        None,
        Reason.METRIC_LIMIT,
        Reason.NEAR_DUPLICATE,
        Reason.METRIC_LIMIT,
        Reason.LICENCE_NOT_ALLOWED,
        Reason.LICENCE_NOT_ALLOWED,
    ]
    assert choice.reason.tolist() == [
        None,
        None,
        Reason.NEAR_DUPLICATE,
        Reason.DROPPED_BY_REVIEW,
        Reason.LICENCE_NOT_ALLOWED,
        Reason.LICENCE_NOT_ALLOWED,
    ]
    assert choice.score.tolist() == by_itself.score.tolist() and choice.threshold == by_itself.threshold


def test_a_dropped_crop_leaves_its_place_to_its_duplicate_and_to_nobody_else():
    twins = {"crop_phash": np.array([*random_hashes(1, 3) * 2, *random_hashes(2, 4)], np.uint64)}
    crops = candidates({"niqe": [1, 2, 3, 4]}, **twins, review=said("drop", None, None, None))
    choice = choose(crops, {"niqe": True}, SelectConfig(top_share=0.5))
    assert choice.reason.tolist() == [Reason.DROPPED_BY_REVIEW, None, Reason.BELOW_TOP_SHARE, Reason.BELOW_TOP_SHARE]


def test_reviews_decide_the_key_and_what_people_changed_is_told(tmp_path):
    store = Store(str(tmp_path))
    scored = two_sources(store)
    config = SelectConfig(top_share=0.5, limits={"niqe": 1.0})
    plain = select(store, scored, LOWER_IS_BETTER, config)
    assert selected_shards(store, scored, LOWER_IS_BETTER, config, {}) == plain and review_effect(plain) is None
    kept, lost = (
        [r["crop_id"] for r in rows_of(plain) if (r["verdict"] == "kept") == is_kept] for is_kept in (True, False)
    )
    reviews = {kept[0]: "drop", kept[1]: "keep", lost[0]: "keep", lost[1]: "drop", "of another dataset": "drop"}
    shards = select(store, scored, LOWER_IS_BETTER, config, reviews)
    assert shards[0].key != plain[0].key
    before, after = ({r["crop_id"]: r["verdict"] for r in rows_of(s)} for s in (plain, shards))
    assert {c: after[c] for c in after if after[c] != before[c]} == {kept[0]: "rejected", lost[0]: "kept"}
    effect = review_effect(shards)
    assert effect.counts() == {"reviewed": 4, "changed": 2, "kept_by_people": 1, "dropped_by_people": 1}
    niqe = next(limit for limit in effect.limits if limit.metric == "niqe")
    values = {row["crop_id"]: row["value"] for s in scored for row in s.scores["niqe"].read("scores").to_pylist()}
    people = {crop_id: verdict for crop_id, verdict in reviews.items() if crop_id in values}
    assert niqe.num_agreeing == sum((values[c] <= 1.0) == (v == "keep") for c, v in people.items())
    at_best = math.inf if niqe.best_limit is None else niqe.best_limit
    assert niqe.num_agreeing_best == sum((values[c] <= at_best) == (v == "keep") for c, v in people.items())
    assert niqe.num_agreeing_best >= niqe.num_agreeing


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=12))
def test_no_limit_that_lets_anything_pass_agrees_with_more_verdicts(crops):
    values, keep = (np.array(column) for column in zip(*crops, strict=True))
    _, most = best_limit(values.astype(float), keep, near=None)
    assert most >= max(((values >= limit) == keep).sum() for limit in range(int(values[keep].max(initial=0)) + 1))
