"""The geometry of crops: whatever the boxes, no square leaves its photo, nothing raises, and nobody is lost."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.reasons import Reason
from storage.schema import FLAGS
from tasks.crop.filters import Candidate, CropConfig, choose_squares
from tasks.crop.geometry import clip, crowding, iou, share_inside, square_around

SIDES = st.integers(1, 3000)
COORDINATES = st.floats(-5000, 5000, allow_nan=False)
EDGES = st.floats(0.01, 5000)


@st.composite
def boxes(draw):
    x, y = draw(COORDINATES), draw(COORDINATES)
    return (x, y, x + draw(EDGES), y + draw(EDGES))


def row(box_id, box, **flags):
    return {"box_id": box_id, "bbox_xyxy_px": list(box), **dict.fromkeys(FLAGS), **flags}


@settings(max_examples=400, deadline=None)
@given(width=SIDES, height=SIDES, people=st.lists(boxes(), max_size=12), data=st.data())
def test_every_box_comes_out_once_and_no_square_leaves_the_photo(width, height, people, data):
    config = CropConfig(
        min_side_px=data.draw(st.floats(1, 600)),
        max_upscale=data.draw(st.floats(0.5, 600)),
        max_crowding=data.draw(st.floats(0, 12)),
        min_share_inside=data.draw(st.floats(0, 1)),
        max_square_iou=data.draw(st.floats(0, 1)),
    )
    rows = [row(str(i), box, crowd=data.draw(st.sampled_from([None, False, True]))) for i, box in enumerate(people)]
    outcomes = list(choose_squares(rows, (width, height), config))
    assert sorted(r["box_id"] for r, _ in outcomes) == sorted(r["box_id"] for r in rows)
    squares = [outcome.square for _, outcome in outcomes if isinstance(outcome, Candidate)]
    for x_min, y_min, x_max, y_max in squares:
        assert 0 <= x_min < x_max <= width
        assert 0 <= y_min < y_max <= height
        assert x_max - x_min == y_max - y_min
    assert all(iou(a, b) <= config.max_square_iou for i, a in enumerate(squares) for b in squares[:i])
    shuffled = data.draw(st.permutations(rows))
    verdicts = {r["box_id"]: outcome for r, outcome in choose_squares(shuffled, (width, height), config)}
    for r, outcome in outcomes:  # the order of the annotation decides nothing
        assert verdicts[r["box_id"]] == outcome


@given(width=SIDES, height=SIDES, box=boxes())
def test_square_holds_the_whole_box_wherever_the_photo_is_large_enough(width, height, box):
    inside = clip(box, width, height)
    if inside is None:
        return
    square = square_around(inside, width, height)
    longer = max(inside[2] - inside[0], inside[3] - inside[1])
    if math.ceil(longer) + 1 <= min(width, height):
        assert share_inside(inside, square) >= 1 - 2 / max(inside[2] - inside[0], 2)
        assert square[2] - square[0] == math.ceil(longer)


def test_square_is_centred_moved_and_shrunk():
    assert square_around((100, 100, 200, 400), 1000, 1000) == (0, 100, 300, 400)
    assert square_around((400, 100, 500, 400), 1000, 1000) == (300, 100, 600, 400)
    assert square_around((900, 700, 1000, 1000), 1000, 1000) == (700, 700, 1000, 1000)
    assert square_around((100, 0, 900, 300), 1000, 300) == (350, 0, 650, 300)


def test_crowding_counts_the_others_on_an_average_pixel():
    alone, under, half = (0, 0, 10, 10), (100, 100, 110, 110), (100, 100, 110, 105)
    assert crowding([alone, under, half, under]) == pytest.approx([0, 1.5, 2, 1.5])
    assert crowding([alone, under, half, under], [2, 0]) == pytest.approx([2, 0])
    assert crowding([]) == []


def test_thousands_of_people_in_one_photo_take_little_memory():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 3000, (8_000, 2))
    rows = [row(str(i), (x, y, x + 60, y + 60)) for i, (x, y) in enumerate(corners.tolist())]
    rows += [row(f"large{i}", (x, y, x + 600, y + 600)) for i, (x, y) in enumerate(corners[:500].tolist())]
    tracemalloc.start()
    outcomes = list(choose_squares(rows, (4000, 4000), CropConfig(min_side_px=512, max_upscale=1.0)))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(outcomes) == len(rows)
    assert peak_bytes < 300e6  # all against all would be 2.5 GB


@pytest.mark.parametrize(
    ("box", "flags", "reason", "value"),
    [
        ((-50, -50, -1, -1), {}, Reason.OUTSIDE_PHOTO, None),
        ((100, 100, 700, 900), {"crowd": True}, Reason.FLAG_NOT_ALLOWED, None),
        ((100, 100, 700, 900), {"depiction": True}, Reason.FLAG_NOT_ALLOWED, None),
        ((100, 100, 200, 355), {}, Reason.TOO_SMALL, 255),
        ((-300, 100, 700, 500), {}, None, None),  # clipped to 700 px
        ((0, 0, 3000, 600), {}, Reason.CUT_BY_SQUARE, 0.4),
    ],
)
def test_reasons_carry_what_was_measured(box, flags, reason, value):
    ((_, outcome),) = choose_squares([row("a", box, **flags)], (3000, 1200), CropConfig())
    assert (None if isinstance(outcome, Candidate) else outcome.reason) == reason
    if value is not None:
        assert outcome.value == pytest.approx(value)


def test_the_person_closest_to_the_centre_wins_not_the_largest():
    rows = [row("large", (0, 0, 700, 900)), row("central", (300, 200, 800, 800))]
    outcomes = {r["box_id"]: o for r, o in choose_squares(rows, (1000, 1000), CropConfig(max_crowding=9))}
    assert isinstance(outcomes["central"], Candidate)
    assert outcomes["large"].reason is Reason.OVERLAPS_CHOSEN
    assert outcomes["large"].detail == "box central"


def test_enlarging_stops_at_the_limit():
    ((_, outcome),) = choose_squares(
        [row("a", (100, 100, 300, 400))], (1000, 1000), CropConfig(min_side_px=100, max_upscale=1.5)
    )
    assert (outcome.reason, outcome.value, outcome.limit) == (Reason.ENLARGED_TOO_MUCH, 512 / 300, 1.5)
