"""The Arrow schemas of every table: the contract between stages. Boxes are `x_min, y_min, x_max, y_max`, half-open.

A pixel's left edge is its index, so a box over the first two columns of a photo has x_min 0 and x_max 2.
"""

import json

import pyarrow as pa

BOX_XYXY_PX = pa.list_(pa.float32(), 4)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""What `datasets.Image` reads and writes."""

PHOTOS = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # as the source lists it, which may not be where it lies
        ("width_px", pa.int32()),  # as the annotation says; null where it says nothing
        ("height_px", pa.int32()),
        ("licence", pa.string()),
        ("licence_url", pa.string()),
        ("author", pa.string()),
        ("photo_url", pa.string()),  # the image itself
        ("page_url", pa.string()),  # the page that shows it
        # By which EXIF orientation, 1 to 8, the source itself says that photo and boxes are turned upright.
        ("orientation", pa.int32()),
        ("boxes_refer_to", pa.string()),  # "stored" or "upright" pixels; null where nobody knows
    ]
)

FLAGS = (
    "crowd",  # several people in one box that were not told apart (COCO, Objects365 iscrowd)
    "group",  # more than five instances of which the box encloses all (Open Images IsGroupOf)
    "depiction",  # a drawing, statue or screen (Open Images IsDepiction)
    "inside",  # a picture taken from inside of the object (Open Images IsInside)
    "occluded",
    "truncated",  # the body goes on outside of the photo
    "difficult",  # VOC: hard to recognise
    "ignore",  # CrowdHuman: extra.ignore = 1, or tag "mask"; COCO-shaped files: ignore = 1
    "fake",  # Objects365 isfake
    "reflected",  # Objects365 isreflected
)

BOXES = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("box_id", pa.string(), nullable=False),  # unique within the photo
        pa.field("bbox_xyxy_px", BOX_XYXY_PX, nullable=False),  # as annotated: may reach outside the photo
        ("visible_bbox_xyxy_px", BOX_XYXY_PX),  # CrowdHuman
        ("head_bbox_xyxy_px", BOX_XYXY_PX),  # CrowdHuman
        ("labels", pa.list_(pa.string())),  # what the source calls it: person, Woman, Human body, ...
        ("pose", pa.string()),  # VOC
        ("confidence", pa.float32()),  # of the detector; null for people's annotations
        *((flag, pa.bool_()) for flag in FLAGS),  # null: the source does not say
    ]
)

REJECTS = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),  # record, photo, box, field or crop
        ("photo_id", pa.string()),
        ("box_id", pa.string()),
        ("path", pa.string()),
        pa.field("outcome", pa.string(), nullable=False),  # rejected or failed
        pa.field("reason", pa.string(), nullable=False),
        ("value", pa.float64()),  # what was measured
        ("limit", pa.float64()),  # what it was held against
        ("detail", pa.string()),
        ("bbox_xyxy_px", BOX_XYXY_PX),
    ]
)

CROPS = pa.schema(
    [
        ("image", IMAGE),  # PNG, 8-bit RGB, side x side; never null, but `datasets` wants the field nullable
        pa.field("crop_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("box_id", pa.string(), nullable=False),
        pa.field("photo_path", pa.string(), nullable=False),
        pa.field("photo_width_px", pa.int32(), nullable=False),  # upright
        pa.field("photo_height_px", pa.int32(), nullable=False),
        pa.field("square_xyxy_px", pa.list_(pa.int32(), 4), nullable=False),  # in the upright photo
        pa.field("source_side_px", pa.int32(), nullable=False),  # side of that square, before the resize
        pa.field("person_bbox_xyxy_px", BOX_XYXY_PX, nullable=False),  # the subject, in crop pixels
        pa.field("people_bbox_xyxy_px", pa.list_(BOX_XYXY_PX), nullable=False),  # everybody, in crop pixels
        pa.field("num_people", pa.int32(), nullable=False),
        pa.field("laplacian_variance", pa.float64(), nullable=False),  # of the whole photo in grey
        pa.field("photo_phash", pa.uint64(), nullable=False),
        pa.field("crop_phash", pa.uint64(), nullable=False),
        ("licence", pa.string()),
        ("licence_url", pa.string()),
        ("author", pa.string()),
        ("photo_url", pa.string()),
        ("page_url", pa.string()),
        # EXIF orientation, 1 to 8, by which the stored pixels were turned upright before `square_xyxy_px` was cut; 1 =
        # not at all, null where the crop is older than this column.
        ("applied_orientation", pa.int32()),
    ]
)

SCORES = pa.schema(
    [
        pa.field("crop_id", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)

SELECTION = pa.schema(
    [
        pa.field("crop_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),  # number of the crop shard within its source
        ("score", pa.float64()),  # eq. 1 of the paper; null where a metric is missing
        pa.field("verdict", pa.string(), nullable=False),  # kept, rejected or failed
        ("split", pa.string()),  # train or val; null where not kept
        ("reason", pa.string()),
        ("metric", pa.string()),  # which metric is beyond its limit
        ("value", pa.float64()),
        ("limit", pa.float64()),
        ("better_crop_id", pa.string()),  # for near-duplicates: the crop that stays
        pa.field("duplicate_group", pa.string(), nullable=False),  # smallest crop id of the near-duplicate crops
        pa.field("photo_group", pa.string(), nullable=False),  # the same for near-duplicate photos
    ]
)

REVIEWED = pa.schema(
    [
        pa.field("crop_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("review", pa.string(), nullable=False),  # keep or drop, as people said
        pa.field("verdict", pa.string(), nullable=False),  # kept, rejected or failed: what it came to
        ("reason", pa.string()),
        pa.field("own_verdict", pa.string(), nullable=False),  # what the pipeline had said by itself
        ("own_reason", pa.string()),
        ("score", pa.float64()),
        pa.field("values", pa.list_(pa.struct([("metric", pa.string()), ("value", pa.float64())])), nullable=False),
    ]
)
"""Beside SELECTION where people reviewed crops of the source."""


def with_image_feature(schema: pa.Schema) -> pa.Schema:
    """`schema` with the note that makes `datasets` open its columns of type IMAGE as pictures."""
    images_only = {"info": {"features": {f.name: {"_type": "Image"} for f in schema if f.type == IMAGE}}}
    return schema.with_metadata({"huggingface": json.dumps(images_only)})
