"""Which boxes of one photo lie on the same body, drawn once as a Person and once as a Woman, say.

Two people who draw the same body do not draw the same box, so a limit close to 1 would leave doubles; 0.8 is an
assumption. Labels do the rest: two boxes with the same label, or a Man and a Woman, are two people however they
overlap, so only Person and Human body, which are said of everybody, join another label; and a box joins at most one of
each.
"""

import numpy as np

SAME_BODY_IOU = 0.8


def owners(
    photo: np.ndarray, xyxy: np.ndarray, label: np.ndarray, group: np.ndarray, is_general: np.ndarray
) -> np.ndarray:
    """For every box the number of the box that stands for its body: itself, or the one with the most special label.

    Args:
        photo: (N,) number of the photo; the boxes of a photo stand together.
        xyxy: (N, 4) coordinates in any unit, since IoU does not depend on it.
        label: (N,) number of the label; the most special labels have the smallest numbers.
        group: (N,) 1 = a group of people, 0 = one, -1 = unknown; a group is never the same as one person.
        is_general: (L,) whether a label can be said of a body that has another label too.
    """
    owner = np.arange(len(photo))
    members: dict[int, set[int]] = {}  # of every box that stands for others, itself included
    for i, j in _pairs(photo, xyxy, label, group, is_general):
        joined = {*members.get(owner[i], {owner[i]}), *members.get(owner[j], {owner[j]})}
        labels = [label[k] for k in joined]
        if len(set(labels)) < len(labels) or sum(not is_general[k] for k in labels) > 1:
            continue  # somebody else's box
        first = min(joined, key=lambda k: label[k])
        members[first] = joined
        owner[list(joined)] = first
    return owner


def _pairs(
    photo: np.ndarray, xyxy: np.ndarray, label: np.ndarray, group: np.ndarray, is_general: np.ndarray
) -> list[tuple[int, int]]:
    """Pairs of boxes that may be one body, the best overlap first."""
    found: list[tuple[tuple[float, ...], int, int]] = []
    first = np.arange(len(photo))
    lag = 0
    while True:
        lag += 1
        first = first[first + lag < len(photo)]
        first = first[photo[first] == photo[first + lag]]
        if not len(first):
            break
        i, j = first, first + lag
        nested = (label[i] != label[j]) & (is_general[label[i]] | is_general[label[j]])
        nested &= (group[i] == group[j]) | (group[i] < 0) | (group[j] < 0)
        i, j = i[nested], j[nested]
        iou = _iou(xyxy[i], xyxy[j])
        near = iou >= SAME_BODY_IOU
        i, j = i[near], j[near]
        i, j = np.where(label[i] < label[j], (i, j), (j, i))
        # equal overlaps are settled by the coordinates, never by the order of the file
        keys = np.column_stack([-iou[near], xyxy[i], xyxy[j], label[i], label[j]])
        found += zip(map(tuple, keys.tolist()), i.tolist(), j.tolist(), strict=True)
    return [(i, j) for _, i, j in sorted(found)]


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of (N, 4) boxes; 0 where one of them encloses nothing."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is nobody's double
        inside = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0).prod(axis=1)
        areas = [np.maximum(box[:, 2:] - box[:, :2], 0).prod(axis=1) for box in (a, b)]
        union = areas[0] + areas[1] - inside
        return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
