"""Why an item was not kept: one enumeration for every stage, each reason with its outcome and its sentence."""

from enum import StrEnum


class Outcome(StrEnum):
    """What became of an item that was not kept."""

    REJECTED = "rejected"
    """The decision is final: the item was read and is not wanted."""
    FAILED = "failed"
    """The item could not be read; it is tried again as soon as its file changes."""


class Reason(StrEnum):
    """The stable short string in `rejects.reason` and in every funnel."""

    # ingest
    BROKEN_RECORD = "broken_record"
    ANNOTATIONS_CUT = "annotations_cut"
    NOT_A_PHOTO = "not_a_photo"
    UNREADABLE_FIELD = "unreadable_field"
    DUPLICATE_PHOTO_ID = "duplicate_photo_id"
    CONTESTED_PHOTO_ID = "contested_photo_id"
    CONTESTED_PATH = "contested_path"
    PATH_OUTSIDE_ROOT = "path_outside_root"
    NO_PERSON = "no_person"
    UNKNOWN_PHOTO_ID = "unknown_photo_id"
    UNKNOWN_CATEGORY = "unknown_category"
    CONTESTED_CATEGORY = "contested_category"
    CONTESTED_BOX_ID = "contested_box_id"
    INVALID_BOX = "invalid_box"
    DUPLICATE_BOX = "duplicate_box"
    # detect
    NO_PERSON_DETECTED = "no_person_detected"
    # reading a photo
    MISSING_FILE = "missing_file"
    AMBIGUOUS_FILE = "ambiguous_file"
    UNREADABLE_FILE = "unreadable_file"
    EMPTY_FILE = "empty_file"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED_IMAGE = "truncated_image"
    DAMAGED_IMAGE = "damaged_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    PIXEL_FORMAT = "pixel_format"
    COLOUR_SPACE = "colour_space"
    SIZE_MISMATCH = "size_mismatch"
    UNKNOWN_ORIENTATION = "unknown_orientation"
    # crop: photos
    BLURRED_PHOTO = "blurred_photo"
    NO_BOX_LEFT = "no_box_left"
    # crop: boxes
    OUTSIDE_PHOTO = "outside_photo"
    FLAG_NOT_ALLOWED = "flag_not_allowed"
    TOO_SMALL = "too_small"
    ENLARGED_TOO_MUCH = "enlarged_too_much"
    CROWDED = "crowded"
    CUT_BY_SQUARE = "cut_by_square"
    OVERLAPS_CHOSEN = "overlaps_chosen"
    # PERSONA-Test
    GOOD_QUALITY = "good_quality"
    PHOTO_IN_TRAIN = "photo_in_train"
    NOT_DRAWN = "not_drawn"
    # score
    SCORE_NOT_FINITE = "score_not_finite"
    # select
    DROPPED_BY_REVIEW = "dropped_by_review"
    LICENCE_NOT_ALLOWED = "licence_not_allowed"
    NOT_SCORED = "not_scored"
    METRIC_LIMIT = "metric_limit"
    BELOW_TOP_SHARE = "below_top_share"
    NEAR_DUPLICATE = "near_duplicate"
    # restore
    OUTPUT_TAKEN = "output_taken"
    NOT_RESTORED = "not_restored"
    NOT_WRITTEN = "not_written"

    @property
    def outcome(self) -> Outcome:
        """FAILED for what a repaired file or a new run may mend, REJECTED for what is final."""
        return Outcome.FAILED if self in _FAILED else Outcome.REJECTED

    @property
    def is_fault_of_annotations(self) -> bool:
        """The annotations themselves are broken or contradict each other; looking at photos cannot mend it."""
        return self in _FAULTS_OF_ANNOTATIONS

    @property
    def sentence(self) -> str:
        """The reason in words, for people."""
        return _SENTENCES[self]


_FAILED = frozenset(
    {
        Reason.ANNOTATIONS_CUT,
        Reason.MISSING_FILE,
        Reason.AMBIGUOUS_FILE,
        Reason.UNREADABLE_FILE,
        Reason.EMPTY_FILE,
        Reason.NOT_AN_IMAGE,
        Reason.TRUNCATED_IMAGE,
        Reason.DAMAGED_IMAGE,
        Reason.SCORE_NOT_FINITE,
        Reason.NOT_SCORED,
        Reason.OUTPUT_TAKEN,
        Reason.NOT_RESTORED,
        Reason.NOT_WRITTEN,
    }
)

_FAULTS_OF_ANNOTATIONS = frozenset(
    {
        Reason.BROKEN_RECORD,
        Reason.ANNOTATIONS_CUT,
        Reason.CONTESTED_PHOTO_ID,
        Reason.CONTESTED_PATH,
        Reason.PATH_OUTSIDE_ROOT,
        Reason.UNKNOWN_PHOTO_ID,
        Reason.UNKNOWN_CATEGORY,
        Reason.CONTESTED_CATEGORY,
        Reason.CONTESTED_BOX_ID,
        Reason.INVALID_BOX,
    }
)

_SENTENCES = {
    Reason.BROKEN_RECORD: "a line or record of the annotations cannot be read",
    Reason.ANNOTATIONS_CUT: "the annotation file ends before this photo's boxes",
    Reason.NOT_A_PHOTO: "the file is not named like a photo",
    Reason.UNREADABLE_FIELD: "a flag or size has a value that its format does not know, and counts as not given",
    Reason.DUPLICATE_PHOTO_ID: "the annotations list the photo once more, word for word",
    Reason.CONTESTED_PHOTO_ID: "several photos of the source have this id, so no box can be told whose it is",
    Reason.CONTESTED_PATH: "several photos of the source name this file, so no box can be told whose it is",
    Reason.PATH_OUTSIDE_ROOT: "the file name leads out of the photo folder",
    Reason.NO_PERSON: "the annotations name no person in the photo",
    Reason.UNKNOWN_PHOTO_ID: "the box belongs to a photo that the source does not list",
    Reason.UNKNOWN_CATEGORY: "the box has a category that the annotations do not list",
    Reason.CONTESTED_CATEGORY: "several categories have the id of the box's, so nobody can tell whether it is a person",
    Reason.CONTESTED_BOX_ID: "several boxes of the photo have this id, at different places",
    Reason.INVALID_BOX: "the coordinates are not finite or enclose nothing",
    Reason.DUPLICATE_BOX: "another box of the photo has the same coordinates",
    Reason.NO_PERSON_DETECTED: "the detector finds no person in the photo",
    Reason.MISSING_FILE: "the photo is not there",
    Reason.AMBIGUOUS_FILE: "several files could be the photo, and nothing decides between them",
    Reason.UNREADABLE_FILE: "the operating system refuses to read the photo",
    Reason.EMPTY_FILE: "the photo's file is empty",
    Reason.NOT_AN_IMAGE: "the file is no picture of a format that is read",
    Reason.TRUNCATED_IMAGE: "the image data ends too early",
    Reason.DAMAGED_IMAGE: "the image data is damaged: pixels were lost or changed",
    Reason.TOO_MANY_PIXELS: "the header announces more pixels than allowed",
    Reason.PIXEL_FORMAT: "the pixel format is not among the allowed ones",
    Reason.COLOUR_SPACE: "what the colours mean cannot be told, so they cannot become sRGB",
    Reason.SIZE_MISMATCH: "the photo has another size than its annotation says",
    Reason.UNKNOWN_ORIENTATION: "the photo is stored turned, and nothing says whether its boxes are turned with it",
    Reason.BLURRED_PHOTO: "the Laplacian variance of the whole photo is too low",
    Reason.NO_BOX_LEFT: "no person box of the photo can be used",
    Reason.OUTSIDE_PHOTO: "the box lies outside the photo",
    Reason.FLAG_NOT_ALLOWED: "the annotation marks the box as something other than one real person",
    Reason.TOO_SMALL: "the longer side of the box is too short",
    Reason.ENLARGED_TOO_MUCH: "the crop would have to be enlarged too much",
    Reason.CROWDED: "other people cover too much of the box",
    Reason.CUT_BY_SQUARE: "too little of the box fits into a square inside the photo",
    Reason.OVERLAPS_CHOSEN: "the square overlaps one that lies closer to the photo's centre",
    Reason.GOOD_QUALITY: "a quality metric is better than low-quality crops may be",
    Reason.PHOTO_IN_TRAIN: "the photo is a near-duplicate of one that was trained on",
    Reason.NOT_DRAWN: "enough other crops were drawn",
    Reason.SCORE_NOT_FINITE: "a quality metric gave no finite value",
    Reason.DROPPED_BY_REVIEW: "a person looked at the crop and dropped it",
    Reason.LICENCE_NOT_ALLOWED: "the photo's licence is not among the allowed ones",
    Reason.NOT_SCORED: "a quality metric is missing",
    Reason.METRIC_LIMIT: "a quality metric is beyond its limit",
    Reason.BELOW_TOP_SHARE: "the combined score is not within the top share",
    Reason.NEAR_DUPLICATE: "a better crop shows the same",
    Reason.OUTPUT_TAKEN: "another picture would be written under the same name",
    Reason.NOT_RESTORED: "the network could not restore the picture",
    Reason.NOT_WRITTEN: "the result cannot be written under its name",
}
