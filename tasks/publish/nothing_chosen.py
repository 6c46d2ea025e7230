"""Why a run chose no crop at all, and which setting would have let most of them through."""

from collections import Counter
from collections.abc import Sequence

from storage.reasons import Outcome, Reason
from storage.report import PLURAL, Item, StageReport

SETTINGS = {
    Reason.TOO_SMALL: "lower crop.min_side_px",
    Reason.ENLARGED_TOO_MUCH: "raise crop.max_upscale",
    Reason.CROWDED: "raise crop.max_crowding",
    Reason.CUT_BY_SQUARE: "lower crop.min_share_inside",
    Reason.OVERLAPS_CHOSEN: "raise crop.max_square_iou",
    Reason.FLAG_NOT_ALLOWED: "add to crop.allowed_flags",
    Reason.BLURRED_PHOTO: "lower crop.min_laplacian_variance",
    Reason.TOO_MANY_PIXELS: "raise photo.max_pixels",
    Reason.PIXEL_FORMAT: "add to photo.pixel_formats",
    Reason.NO_PERSON_DETECTED: "lower detect.confidence",
    Reason.METRIC_LIMIT: "relax select.limits",
    Reason.BELOW_TOP_SHARE: "raise select.top_share",
    Reason.NEAR_DUPLICATE: "lower select.near_duplicate_crop_bits",
    Reason.LICENCE_NOT_ALLOWED: "add to select.allowed_licences",
    Reason.DROPPED_BY_REVIEW: "take back what reviews/ says of them",
}
"""What to change in the configuration; of other reasons the cause lies in the data."""

_CONSEQUENCE = {Reason.NO_BOX_LEFT}
"""Follows from another loss, which is counted itself."""

Loss = tuple[str, Item, Reason]


def why_nothing(reports: Sequence[StageReport]) -> str:
    """One sentence: what took the most, with its numbers and its remedy, and what took the last crops."""
    num_in: Counter[tuple[str, Item]] = Counter()
    lost: Counter[Loss] = Counter()
    for report in reports:
        for item, counts in report.counts.items():
            num_in[report.stage, item] += counts.num_in
            for reason, num in (*counts.rejected.items(), *counts.failed.items()):
                if reason not in _CONSEQUENCE:
                    lost[report.stage, item, reason] += num
    if not lost:
        return "no crop was chosen: nothing came in; look at the paths of the sources"
    most = max(lost, key=lambda loss: lost[loss])
    sentence = f"no crop was chosen: {_told(most, lost, num_in)}"
    at_last = [loss for loss in lost if loss[0] == reports[-1].stage]
    if at_last and most not in at_last:
        last = max(at_last, key=lambda loss: lost[loss])
        sentence += f"; of those that came so far, {_told(last, lost, num_in)}"
    return sentence


def _told(loss: Loss, lost: Counter[Loss], num_in: Counter[tuple[str, Item]]) -> str:
    stage, item, reason = loss
    verb = "rejected" if reason.outcome is Outcome.REJECTED else "failed on"
    remedy = SETTINGS.get(
        reason, "mend the files" if reason.outcome is Outcome.FAILED else "look into `persona report`"
    )
    of = f"{lost[loss]:,} of {num_in[stage, item]:,} {PLURAL[item]}"
    return f"{stage} {verb} {of} since {reason.sentence} ({reason.value}): {remedy}"
