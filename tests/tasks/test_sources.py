"""Every format as its dataset publishes it, field for field, and what is odd or broken in it."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from storage.reasons import Reason
from storage.store import Store
from tasks.photos.places import photos_of
from tasks.sources import AnySource, json_stream
from tasks.sources.coco import CocoSource
from tasks.sources.crowdhuman import CrowdHumanSource
from tasks.sources.folder import FolderSource
from tasks.sources.json_stream import CutError, arrays_of
from tasks.sources.objects365 import Objects365Source
from tasks.sources.open_images import OpenImagesSource
from tasks.sources.records import LISTED, Photo, Unread, leads_outside
from tasks.sources.voc import VocSource


def read(source, tmp_path):
    """Photos by id, boxes by (photo id, box id) and unread records of a source, all as plain dicts."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    photos, boxes, unread = {}, {}, []
    for record in source.read(scratch, photos_of(source.photos, Store(str(tmp_path)))):
        rows = record.to_pylist() if isinstance(record, pa.RecordBatch) else [record._asdict()]
        is_photo = isinstance(record, Photo) or (isinstance(record, pa.RecordBatch) and record.schema == LISTED)
        for row in rows:
            if isinstance(record, Unread):
                unread.append(row)
            elif is_photo:
                photos[row["photo_id"]] = row
            else:
                boxes[row["photo_id"], row["box_id"]] = row
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    return photos, boxes, unread


def known(row):
    """A row without its digest and without the fields that are None or empty."""
    return {name: value for name, value in row.items() if value is not None and value != () and name != "record"}


def write_jpeg(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


# COCO


def test_coco_reads_real_annotations_like_json(shared_data, tmp_path):
    path = shared_data / "coco_mini/annotations/instances_val2017.json"
    photos, boxes, unread = read(
        CocoSource(name="coco", photos=shared_data / "coco_mini/val2017", annotations=path), tmp_path
    )
    published = json.loads(path.read_text())
    person = next(c["id"] for c in published["categories"] if c["name"] == "person")
    licences = {item["id"]: item for item in published["licenses"]}
    assert not unread
    assert len(photos) == len(published["images"])
    for image in published["images"]:
        assert known(photos[str(image["id"])]) == {
            "photo_id": str(image["id"]),
            "path": image["file_name"],
            "width_px": image["width"],
            "height_px": image["height"],
            "licence": licences[image["license"]]["name"],
            "licence_url": licences[image["license"]]["url"],
            "photo_url": image["coco_url"],
            "page_url": image["flickr_url"],
        }
    people = [a for a in published["annotations"] if a["category_id"] == person]
    assert len(boxes) == len(people)
    assert any(a["iscrowd"] for a in people)
    for a in people:
        x, y, width, height = a["bbox"]
        row = boxes[str(a["image_id"]), str(a["id"])]
        assert row["bbox_xyxy_px"] == pytest.approx([x, y, x + width, y + height], rel=1e-6)
        assert row["labels"] == ["person"]
        assert row["crowd"] is bool(a["iscrowd"])
        assert row["fake"] is None


def coco(tmp_path, text, **more):
    path = tmp_path / "a.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return CocoSource(name="coco", photos=tmp_path, annotations=path, **more)


PERSON = [{"id": 7, "name": "dog"}, {"id": 1, "name": "person"}]


def test_coco_records_of_another_kind_are_told_one_by_one(tmp_path):
    def box(number, **fields):
        return {"id": number, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0} | fields

    images = [
        {"id": 1, "file_name": "ä b.jpg", "width": 8.0, "height": 9, "license": 99},
        {"id": 2, "width": 8, "height": 9},
        {"id": 3, "file_name": "c.jpg", "width": "8", "height": 9},
        {"id": None, "file_name": "d.jpg"},
        {"id": 5, "file_name": "\ud800.jpg"},
        "e.jpg",
    ]
    annotations = [
        box(1),
        box(2, bbox=[float("nan"), 2, float("inf"), 4]),
        box(3, bbox=[1, 2, 3]),
        box(4, bbox=["1", "2", "3", "4"]),
        box(5, bbox=[None, 2, 3, 4]),
        box(6, bbox=[10**400, 2, 3, 4]),
        box(7, iscrowd="yes"),
        box(8, category_id=7, bbox=None),
        box(9, category_id=[1]),
        {"id": 10, "image_id": 1, "category_id": 1},
        [1, 2],
    ]
    photos, boxes, unread = read(
        coco(tmp_path, {"images": images, "annotations": annotations, "categories": PERSON}), tmp_path
    )
    assert known(photos["1"]) == {"photo_id": "1", "path": "ä b.jpg", "width_px": 8, "height_px": 9}
    assert known(photos["3"]) == {"photo_id": "3", "path": "c.jpg"}  # the header decides
    assert list(photos) == ["1", "3"]
    assert [box_id for _, box_id in boxes] == ["1", "2", "7"]
    assert np.isnan(boxes["1", "2"]["bbox_xyxy_px"][0])
    assert boxes["1", "7"]["crowd"] is None
    fields = [(row["photo_id"], row["detail"]) for row in unread if row["item"] == "field"]
    assert fields == [("3", "size is '8' x 9"), ("1", "iscrowd is 'yes'")]
    assert {row["reason"] for row in unread if row["item"] != "field"} == {Reason.BROKEN_RECORD}
    assert [(row["item"], row["photo_id"]) for row in unread if row["item"] == "photo"] == [
        ("photo", "2"),
        ("photo", None),
        ("photo", "5"),
        ("photo", None),
    ]
    assert [row["box_id"] for row in unread if row["item"] == "box"] == ["3", "4", "5", "6", "10"]
    assert sum(row["item"] == "record" for row in unread) == 2


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("<html>", "no JSON object"),
        ("[]", "no JSON object"),
        ("{}", "no array images"),
        ({"images": [], "categories": PERSON}, "no array annotations"),
        ({"images": [], "annotations": []}, "no array categories"),
        ({"images": [], "annotations": [], "categories": []}, "no categories"),
        ({"images": [], "annotations": [], "categories": PERSON[:1]}, "none of the labels person, .*, only dog"),
        (
            {"info": {"categories": PERSON}, "images": [], "annotations": [], "categories": PERSON[::-1]},
            "one array each",
        ),
    ],
)
def test_coco_file_of_another_kind_stops_at_once(tmp_path, document, complaint):
    with pytest.raises(ValueError, match=complaint):
        read(coco(tmp_path, document), tmp_path)


def test_a_missing_annotation_file_is_refused_by_the_configuration(tmp_path):
    with pytest.raises(ValidationError, match="annotations"):
        TypeAdapter(AnySource).validate_python(
            {"format": "coco", "name": "c", "photos": tmp_path, "annotations": tmp_path / "no.json"}
        )


DOCUMENT = {
    "info": {"images": {"deep": [1, {"a": "]}"}]}, "n": -1.5e-3},
    "licenses": [],
    "images": [{"id": 1, "file_name": 'q"\\ü\u2028.jpg'}, {"id": 23, "x": [True, None, []]}, 4, "five"],
    "annotations": [{"id": i, "bbox": [0.25, 1e5, i, -3], "s": {"counts": "]],["}} for i in range(5)],
    "year": 2017,
}


@pytest.mark.parametrize("read_bytes", [1, 2, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 3])
def test_json_stream_equals_json_wherever_the_reads_end(tmp_path, monkeypatch, read_bytes, indent):
    monkeypatch.setattr(json_stream, "READ_BYTES", read_bytes)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(DOCUMENT, indent=indent, ensure_ascii=False), encoding="utf-8-sig")
    arrays = {key: list(items) for key, items in arrays_of(path, DOCUMENT)}
    assert arrays == {key: value for key, value in DOCUMENT.items() if isinstance(value, list)}
    assert json_stream.find_records(path, "annotations") == DOCUMENT["annotations"]
    assert json_stream.find_records(path, "categories") is None


def test_json_cut_anywhere_gives_everything_before_the_cut(tmp_path):
    whole = json.dumps(DOCUMENT).encode()
    path = tmp_path / "a.json"
    num_before = 0
    for end in range(1, len(whole)):
        path.write_bytes(whole[:end])
        found = []
        with pytest.raises(CutError, match="cannot be read from byte"):
            for _, items in arrays_of(path, DOCUMENT):
                for item in items:
                    found.append(item)
        assert found == (DOCUMENT["images"] + DOCUMENT["annotations"])[: len(found)]
        assert len(found) >= num_before
        num_before = len(found)
    assert num_before == 9


def test_what_nobody_reads_may_be_nested_as_deep_as_it_likes(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "READ_BYTES", 1000)
    deep = "[" * 10_000 + '"]"' + "]" * 10_000
    path = tmp_path / "a.json"
    path.write_text(f'{{"info": {deep}, "images": [1, {{"x": {deep}}}, {{"y": {deep}}} , 2], "more": [{deep}]}}')
    ((key, items),) = ((key, list(items)) for key, items in arrays_of(path, ["images"]))
    assert (key, [repr(item) for item in items]) == ("images", ["1", "nested too deeply", "nested too deeply", "2"])
    path.write_text(f'{{"images": [1, {{"x": {deep}')
    with pytest.raises(CutError, match="cannot be read from byte"):
        [list(items) for _, items in arrays_of(path, ["images"])]


def test_coco_ids_categories_and_flags_as_other_programs_write_them(tmp_path):
    def box(number, **fields):
        return {"id": number, "image_id": 1.0, "category_id": "1", "bbox": [1, 2, 3, 4]} | fields

    categories = [
        {"id": "1", "name": "Rider"},
        {"id": 2, "name": "person"},
        {"id": 2.0, "name": "PERSON"},
        {"id": 3, "name": "person"},
        {"id": 3, "name": "dog"},
        {"id": 4, "name": "cat"},
    ]
    boxes = [
        box(1, ignore=1),
        box("2", category_id=1, iscrowd="0", ignore=True),
        box(3.0, category_id=2.0, iscrowd=0.0),
        box(4, category_id=3),
        box(5, category_id="3"),
        box(6, category_id=4),
        box(7, category_id=9),
        box(8, category_id=None),
    ]
    licences = [{"id": 1, "name": "a"}, {"id": "1", "name": "b"}, {"id": "2", "name": "c"}]
    images = [
        {"id": "1", "file_name": "1.jpg", "width": 0, "height": -1, "license": 1},
        {"id": 2, "file_name": "2.jpg", "license": 2},
    ]
    document = {"images": images, "annotations": boxes, "categories": categories, "licenses": licences}
    photos, found, unread = read(coco(tmp_path, document), tmp_path)
    assert known(photos["1"]) == {"photo_id": "1", "path": "1.jpg"}
    assert photos["2"]["licence"] == "c"
    assert {key: (row["ignore"], row["crowd"]) for key, row in found.items()} == {
        ("1", "1"): (True, None),
        ("1", "2"): (True, False),
        ("1", "3"): (None, False),
    }
    assert [(row["item"], row["box_id"], row["reason"]) for row in unread] == [
        ("field", None, Reason.UNREADABLE_FIELD),
        ("box", "4", Reason.CONTESTED_CATEGORY),
        ("box", "5", Reason.CONTESTED_CATEGORY),
        ("box", "7", Reason.UNKNOWN_CATEGORY),
        ("record", "8", Reason.BROKEN_RECORD),
    ]


def test_labels_say_who_is_a_person(tmp_path):
    document = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}],
        "categories": PERSON,
    }
    _, boxes, _ = read(coco(tmp_path, document, labels=["DOG"]), tmp_path)
    assert boxes["1", "1"]["labels"] == ["dog"]


@pytest.mark.parametrize(
    ("configured", "text", "complaint"),
    [
        ("coco", '{"ID": "1", "gtboxes": []}', "is a CrowdHuman file; you wrote coco"),
        ("objects365", "ImageID,Source,LabelName", "is a CSV file of Open Images; you wrote objects365"),
        ("coco", "<annotation><filename>a</filename></annotation>", "is a VOC file; you wrote coco"),
        ("crowdhuman", '{"info": {}, "licenses": [], "images": []}', "is a COCO file; you wrote crowdhuman"),
        ("crowdhuman", '{"version": "5", "shapes": [], "imagePath": "a.jpg"}', "is a LabelMe file"),
    ],
)
def test_a_file_of_another_format_is_recognised(tmp_path, configured, text, complaint):
    (tmp_path / "a").write_text(text)
    source = TypeAdapter(AnySource).validate_python(
        {"format": configured, "name": "x", "photos": str(tmp_path), "annotations": str(tmp_path / "a")}
    )
    with pytest.raises(ValueError, match=complaint):
        read(source, tmp_path)


# Open Images

V6_TRAIN = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    + "".join(f",XClick{i}X,XClick{i}Y" for i in range(1, 5))
)
V4 = V6_TRAIN[: V6_TRAIN.index(",XClick")]
MIDS = {
    "Person": "/m/01g317",
    "Man": "/m/04yx4",
    "Woman": "/m/03bt1vf",
    "Boy": "/m/01bl7v",
    "Girl": "/m/05r655",
    "Human body": "/m/02p0tk3",
    "Cello": "/m/01xqw",
}
IMAGE_IDS = (
    "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,"
    "Thumbnail300KURL,Rotation"
)


def oi_row(photo_id, label, xyxy, flags="0,0,0,0,0"):
    x_min, y_min, x_max, y_max = xyxy
    return f"{photo_id},xclick,{MIDS[label]},1,{x_min},{x_max},{y_min},{y_max},{flags}"


def open_images(tmp_path, rows, header=V4, classes=None, image_ids=None, **more):
    (tmp_path / "photos").mkdir(exist_ok=True)
    (tmp_path / "boxes.csv").write_text("\n".join([header, *rows]) + "\n")
    classes = classes or "".join(f"{mid},{name}\n" for name, mid in MIDS.items())
    (tmp_path / "classes.csv").write_text(classes)
    if image_ids is not None:
        (tmp_path / "images.csv").write_text("\n".join([IMAGE_IDS, *image_ids]) + "\n")
        more["image_ids"] = tmp_path / "images.csv"
    return OpenImagesSource(
        name="oi", photos=tmp_path / "photos", boxes=tmp_path / "boxes.csv", classes=tmp_path / "classes.csv", **more
    )


def test_open_images_v6_train_field_for_field(tmp_path):
    write_jpeg(tmp_path / "photos/000a.jpg", 1024, 683)
    clicks = "," + ",".join(["0.1"] * 8)
    source = open_images(
        tmp_path,
        [
            oi_row("0001", "Cello", (0.1, 0.1, 0.2, 0.2)) + clicks,
            oi_row("000a", "Cello", (0.1, 0.1, 0.2, 0.2)) + clicks,
            oi_row("000a", "Girl", (0.25, 0.5, 0.75, 1), "-1,0,1,0,-1") + clicks,
        ],
        header=V6_TRAIN,
        classes="LabelName,DisplayName\n" + "".join(f"{mid},{name}\n" for name, mid in MIDS.items()),
        image_ids=[
            "000a,train,https://f/o.jpg,https://www.flickr.com/photos/a/1,https://creativecommons.org/licenses/by/2.0/,"
            'https://www.flickr.com/people/a/,"Doe, ""J""\nÄ","a title",5,md5==,https://f/z.jpg,0.0',
            "000b,train,u,l,x,p,a,t,5,m,t,",
        ],
    )
    photos, boxes, unread = read(source, tmp_path)
    assert not unread
    assert {photo_id: row["path"] for photo_id, row in photos.items()} == {
        "000a": "000a.jpg",
        "0001": "0001.jpg",
        "000b": "000b.jpg",
    }
    assert known(photos["000a"]) == {
        "photo_id": "000a",
        "path": "000a.jpg",
        "width_px": 1024,
        "height_px": 683,
        "licence": "CC BY 2.0",
        "licence_url": "https://creativecommons.org/licenses/by/2.0/",
        "author": 'Doe, "J"\nÄ',
        "photo_url": "https://f/o.jpg",
        "page_url": "https://www.flickr.com/photos/a/1",
        "orientation": 1,
        "boxes_refer_to": "stored",
    }
    (box,) = boxes.values()
    assert len(box["box_id"]) == 8
    assert known(box) == {
        "photo_id": "000a",
        "box_id": box["box_id"],
        "bbox_xyxy_px": [256, 341.5, 768, 683],
        "labels": ["Girl"],
        "truncated": False,
        "group": True,
        "depiction": False,
    }


def test_open_images_one_body_is_one_box_and_two_people_are_two(tmp_path):
    write_jpeg(tmp_path / "photos/a.jpg", 1000, 1000)
    rows = [
        oi_row("a", "Person", (0.1, 0.1, 0.4, 0.9), "1,-1,0,0,0"),
        oi_row("a", "Woman", (0.11, 0.1, 0.41, 0.9), "0,-1,0,0,0"),  # the same body, drawn again
        oi_row("a", "Human body", (0.11, 0.11, 0.41, 0.89), "-1,-1,0,0,0"),  # and again
        oi_row("a", "Man", (0.105, 0.1, 0.405, 0.9)),  # somebody right behind her: no body is a man and a woman
        oi_row("a", "Person", (0.5, 0.1, 0.8, 0.9), "0,0,0,0,0"),
        oi_row("a", "Person", (0.51, 0.1, 0.81, 0.9), "0,0,0,0,0"),  # the same label twice: two people
        oi_row("a", "Boy", (0.55, 0.1, 0.95, 0.9), "0,0,0,0,0"),  # overlaps a Person by less than 0.8
        oi_row("a", "Person", (0, 0.91, 1, 1), "0,0,1,0,0"),  # a group is not the one girl in front
        oi_row("a", "Girl", (0, 0.91, 1, 0.995), "0,0,0,0,0"),
    ]
    _, boxes, unread = read(open_images(tmp_path, rows), tmp_path)
    assert not unread
    assert sorted(row["labels"] for row in boxes.values()) == [
        ["Boy"],
        ["Girl"],
        ["Man", "Person"],
        ["Person"],
        ["Person"],
        ["Person"],
        ["Woman", "Human body"],
    ]
    woman = next(row for row in boxes.values() if "Woman" in row["labels"])
    assert woman["bbox_xyxy_px"] == pytest.approx([110, 100, 410, 900])
    assert (woman["occluded"], woman["truncated"]) == (False, None)
    shuffled = [rows[i] for i in (8, 3, 5, 0, 7, 2, 4, 6, 1)]
    assert read(open_images(tmp_path, shuffled), tmp_path)[1] == boxes


def test_open_images_boxes_of_a_photo_need_not_stand_together(tmp_path):
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(size=(600, 2, 2)), axis=1).reshape(600, 4)
    labels = rng.choice(list(MIDS), 600)
    rows = [oi_row(f"{i % 40:04x}", label, xyxy) for i, (label, xyxy) in enumerate(zip(labels, corners, strict=True))]
    for i in range(40):
        write_jpeg(tmp_path / f"photos/{i:04x}.jpg", 20 + i, 30)
    apart = read(open_images(tmp_path, rows), tmp_path)
    together = read(open_images(tmp_path, sorted(rows)), tmp_path)
    assert apart == together
    assert len(apart[1]) > 400


def test_open_images_broken_lines_cost_themselves_and_name_their_number(tmp_path):
    for name in "ab":
        write_jpeg(tmp_path / f"photos/{name}.jpg", 10, 10)
    good = oi_row("a", "Man", (0, 0, 0.5, 1))
    rows = [
        good,
        "",
        "a,xclick",
        oi_row("b", "Boy", ("x", 0, 0.5, 1)),
        oi_row("b", "Boy", ("nan", 0, 0.5, 1)),
        oi_row("", "Boy", (0, 0, 0.5, 1)),
        oi_row("b", "Girl", (0, 0, 0.5, 1)),
        good + ",7",
        oi_row("b", "Cello", ("", "", "", "")),  # other classes are not read
        good[:-5],
    ]
    photos, boxes, unread = read(open_images(tmp_path, rows), tmp_path)
    assert photos.keys() == {"a", "b"}
    assert sorted((photo_id, row["labels"][0]) for (photo_id, _), row in boxes.items()) == [
        ("a", "Man"),
        ("b", "Boy"),
        ("b", "Girl"),
    ]
    assert {(row["item"], row["reason"]) for row in unread} == {("record", Reason.BROKEN_RECORD)}
    assert sorted(row["detail"].split(":")[1] for row in unread) == ["11", "4", "5", "7", "9"]


@pytest.mark.parametrize("header", ["V4", "V2", "Challenge 2019"])
def test_open_images_flags_that_are_missing_or_odd_are_null(tmp_path, header):
    write_jpeg(tmp_path / "photos/a.jpg", 10, 10)
    flags = {"V4": "0.0,2,1.0,,yes", "V2": "", "Challenge 2019": "1"}[header]
    columns = V4.split(",")[:8] + {"V4": V4.split(",")[8:], "V2": [], "Challenge 2019": ["IsGroupOf"]}[header]
    row = oi_row("a", "Man", (0, 0, 0.5, 1), flags).strip(",")
    _, boxes, unread = read(open_images(tmp_path, [row], header=",".join(columns)), tmp_path)
    (box,) = boxes.values()
    expected = {
        "V4": (False, None, True, None, None),
        "V2": (None,) * 5,
        "Challenge 2019": (None, None, True, None, None),
    }
    assert tuple(box[name] for name in ("occluded", "truncated", "group", "depiction", "inside")) == expected[header]
    odd = [row["detail"] for row in unread]
    assert odd == (["boxes.csv:2: IsTruncated is b'2'", "boxes.csv:2: IsInside is b'yes'"] if header == "V4" else [])


@pytest.mark.parametrize("end", ["line of 12 MB", "last row breaks off"])
def test_open_images_csv_that_ends_early_is_a_failure_of_the_file(tmp_path, end):
    write_jpeg(tmp_path / "photos/a.jpg", 10, 10)
    good = oi_row("a", "Man", (0, 0, 0.5, 1))
    source = open_images(tmp_path, [good])
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write(f"a,{'x' * 12_000_000}\n{good}\n" if end == "line of 12 MB" else good[:-7])
    _, _, unread = read(source, tmp_path)
    assert [(row["item"], row["reason"]) for row in unread] == [("record", Reason.ANNOTATIONS_CUT)]


@pytest.mark.parametrize("column", ["ImageID", "LabelName", "YMax"])
def test_open_images_missing_column_stops_at_once(tmp_path, column):
    source = open_images(tmp_path, [], header=V4.replace(column, "Other"))
    with pytest.raises(ValueError, match=rf"boxes.csv has no column {column}"):
        read(source, tmp_path)


def test_open_images_class_file_without_people_stops_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"classes.csv has none of the labels Woman.* only Cello"):
        read(open_images(tmp_path, [], classes="/m/01xqw,Cello\n"), tmp_path)


def test_open_images_photos_that_give_no_size_take_their_boxes_along(tmp_path):
    outside = tmp_path / "elsewhere.jpg"
    write_jpeg(outside, 10, 10)
    rows = [oi_row(name, "Man", (0, 0, 0.5, 1)) for name in ("cut", "empty", "gone", "link", "no/../../e", "text")]
    source = open_images(tmp_path, rows)
    (Path(source.photos[0]) / "empty.jpg").touch()
    (Path(source.photos[0]) / "text.jpg").write_text("this is a text of some length")
    (Path(source.photos[0]) / "cut.jpg").write_bytes(outside.read_bytes()[:30])
    (Path(source.photos[0]) / "link.jpg").symlink_to(outside)
    photos, boxes, unread = read(source, tmp_path)
    assert not photos
    assert not boxes
    reasons = {
        "cut": Reason.TRUNCATED_IMAGE,
        "empty": Reason.EMPTY_FILE,
        "gone": Reason.MISSING_FILE,
        "link": Reason.PATH_OUTSIDE_ROOT,
        "no/../../e": Reason.PATH_OUTSIDE_ROOT,
        "text": Reason.NOT_AN_IMAGE,
    }
    for item in ("photo", "box"):
        assert {row["photo_id"]: row["reason"] for row in unread if row["item"] == item} == reasons
    assert {row["photo_id"] for row in unread if row["signature"] is None} >= {"gone"}


def test_open_images_real_photos_give_their_real_sizes(shared_data, tmp_path):
    folder = shared_data / "coco_mini/val2017"
    names = sorted(path.stem for path in folder.iterdir())[:20]
    source = open_images(tmp_path, [oi_row(name, "Person", (0, 0, 1, 1)) for name in names])
    source = source.model_copy(update={"photos": (str(folder),)})
    _, boxes, _ = read(source, tmp_path)
    for (photo_id, _), row in boxes.items():
        height, width = cv2.imread(str(folder / f"{photo_id}.jpg"), cv2.IMREAD_IGNORE_ORIENTATION | 1).shape[:2]
        assert row["bbox_xyxy_px"] == [0, 0, width, height]


# Objects365


def objects365(tmp_path, file_names):
    images = [
        {"id": i, "file_name": name, "width": 769, "height": 512, "license": 3, "url": ""}
        for i, name in enumerate(file_names)
    ]
    annotation = {"id": 5, "iscrowd": 1, "isfake": 0, "area": 6.0, "isreflected": 1, "bbox": [1.5, 2, 3, 2]}
    document = {
        "images": images,
        "annotations": [annotation | {"image_id": 0, "category_id": 1}, annotation | {"image_id": 0, "category_id": 2}],
        "categories": [{"id": 1, "name": "Person"}, {"id": 2, "name": "Sneakers"}],
        "licenses": [{"name": "Attribution License", "id": 3, "url": "http://cc"}],
    }
    path = tmp_path / "zhiyuan_objv2_train.json"
    path.write_text(json.dumps(document))
    return Objects365Source(name="o", photos=tmp_path / "photos", annotations=path)


V2_NAME = "images/v1/patch8/objects365_v1_00420917.jpg"
V1_NAME = "objects365_v1_00420917.jpg"


@pytest.mark.parametrize(
    ("on_disk", "file_name"),
    [
        (V2_NAME, V2_NAME),
        (f"v1/patch8/{V1_NAME}", V2_NAME),
        (f"patch8/{V1_NAME}", V2_NAME),
        (V1_NAME, V2_NAME),
        (V1_NAME, V1_NAME),
        (f"patch8/{V1_NAME}", V1_NAME),
        (f"images/v1/patch8/{V1_NAME}", V1_NAME),
    ],
)
def test_objects365_finds_the_photo_in_every_layout(tmp_path, on_disk, file_name):
    write_jpeg(tmp_path / "photos" / on_disk, 769, 512)
    write_jpeg(tmp_path / "photos/patch9/other.jpg" if "/" in on_disk else tmp_path / "photos/o.jpg", 8, 8)
    source = objects365(tmp_path, [file_name, "patch7/absent.jpg", "../up.jpg"])
    found = photos_of(source.photos, Store(str(tmp_path))).read(file_name)
    assert found == (tmp_path / "photos" / on_disk).read_bytes()
    photos, boxes, unread = read(source, tmp_path)
    assert not unread
    assert known(photos["0"]) == {
        "photo_id": "0",
        "path": file_name,
        "width_px": 769,
        "height_px": 512,
        "licence": "Attribution License",
        "licence_url": "http://cc",
    }
    assert photos["2"]["path"] == "../up.jpg"
    assert [known(row) for row in boxes.values()] == [
        {
            "photo_id": "0",
            "box_id": "5",
            "bbox_xyxy_px": [1.5, 2, 4.5, 4],
            "labels": ["Person"],
            "crowd": True,
            "fake": False,
            "reflected": True,
        }
    ]


# CrowdHuman

CROWD = {
    "ID": "273271,1a0d6000b9e1f5b7",
    "gtboxes": [
        {
            "fbox": [-5, 202, 163, 503],
            "tag": "person",
            "hbox": [171, 208, 62, 83],
            "extra": {"box_id": 0, "occ": 1},
            "vbox": [72, 202, 163, 398],
            "head_attr": {"ignore": 0, "occ": 0, "unsure": 0},
        },
        {
            "tag": "mask",
            "hbox": [1, 2, 3, 4],
            "head_attr": {"ignore": 1},
            "fbox": [0, 0, 9, 9],
            "vbox": [0, 0, 9, 9],
            "extra": {"ignore": 1},
        },
        {"tag": "person", "fbox": [1, 1, 2, 2], "extra": {"box_id": 2, "ignore": 1}},
        {"tag": "person", "fbox": [1, 1, 2], "extra": {}},
    ],
}


@pytest.mark.parametrize(("box", "bbox"), [("full", [-5, 202, 158, 705]), ("visible", [72, 202, 235, 600])])
def test_crowdhuman_field_for_field_and_a_broken_line_costs_itself(tmp_path, box, bbox):
    path = tmp_path / "annotation_val.odgt"
    lines = [json.dumps(CROWD), '{"ID": "a", "gtbo', "", '{"ID": "b"}', '{"ID": "c", "gtboxes": []}', "[" * 99_999]
    path.write_bytes("\n".join(lines).encode() + b'\n{"ID": "\xff", "gtboxes": []}\n')
    photos, boxes, unread = read(CrowdHumanSource(name="ch", photos=tmp_path, annotations=path, box=box), tmp_path)
    assert {photo_id: row["path"] for photo_id, row in photos.items()} == {
        CROWD["ID"]: f"{CROWD['ID']}.jpg",
        "c": "c.jpg",
    }
    assert known(boxes[CROWD["ID"], "0"]) == {
        "photo_id": CROWD["ID"],
        "box_id": "0",
        "bbox_xyxy_px": tuple(bbox),
        "visible_bbox_xyxy_px": (72, 202, 235, 600),
        "head_bbox_xyxy_px": (171, 208, 233, 291),
        "labels": ("person",),
        "occluded": True,
        "ignore": False,
    }
    assert boxes[CROWD["ID"], "n1"]["ignore"]
    assert boxes[CROWD["ID"], "n1"]["labels"] == ("mask",)
    if box == "full":
        assert boxes[CROWD["ID"], "2"]["ignore"]
    places = [row["detail"].split(": ")[0] for row in unread if row["item"] == "photo"]
    assert places == [f"annotation_val.odgt:{line}" for line in (2, 4, 6, 7)]
    broken = [row["box_id"] for row in unread if row["item"] == "box"]
    assert broken == (["n3"] if box == "full" else ["n2", "n3"])


def test_crowdhuman_last_line_that_breaks_off_is_a_failure_of_the_file(tmp_path):
    path = tmp_path / "annotation_val.odgt"
    path.write_text(json.dumps(CROWD) + "\n" + json.dumps(CROWD)[:-40])
    _, _, unread = read(CrowdHumanSource(name="ch", photos=tmp_path, annotations=path), tmp_path)
    assert (unread[-1]["item"], unread[-1]["reason"]) == ("record", Reason.ANNOTATIONS_CUT)


# PASCAL VOC

VOC2007 = """<annotation><folder>VOC2007</folder><filename>000001.jpg</filename>
<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation><image>flickr</image>
<flickrid>341012865</flickrid></source><owner><flickrid>Fried Camels</flickrid><name>Jinky the Fruit Bat</name></owner>
<size><width>353</width><height>500</height><depth>3</depth></size><segmented>0</segmented>
<object><name>dog</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
<bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox></object>
<object><name>person</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>12</ymin><xmax>353</xmax><ymax>500</ymax></bndbox></object></annotation>"""
VOC2012 = """<annotation><filename>2008_000008.jpg</filename><owner><name>?</name></owner>
<size><width>500</width><height>442</height><depth>3</depth></size>
<object><name>person</name><part><name>head</name><bndbox><xmin>9</xmin></bndbox></part><bndbox><ymax>167.5</ymax>
<xmax>230</xmax><xmin>45.7</xmin><ymin>45</ymin></bndbox><difficult>1</difficult><occluded>1</occluded>
<pose>Unspecified</pose><truncated>0</truncated></object>
<object><name>person</name><bndbox><xmin>4</xmin></bndbox></object></annotation>"""
BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation><filename>&c;</filename></annotation>'


def test_voc_field_for_field_and_broken_files_cost_themselves(tmp_path):
    folder = tmp_path / "Annotations"
    folder.mkdir()
    texts = {"000001": VOC2007, "2008_000008": VOC2012, "bomb": BOMB, "cut": VOC2007[:300], "other": "<a/>", "x": ""}
    for name, text in texts.items():
        (folder / f"{name}.xml").write_text(text)
    photos, boxes, unread = read(VocSource(name="voc", photos=tmp_path, annotations=folder), tmp_path)
    assert [known(row) for row in photos.values()] == [
        {
            "photo_id": "000001",
            "path": "000001.jpg",
            "width_px": 353,
            "height_px": 500,
            "author": "Jinky the Fruit Bat",
        },
        {"photo_id": "2008_000008", "path": "2008_000008.jpg", "width_px": 500, "height_px": 442},
    ]
    assert [known(row) for row in boxes.values()] == [
        {
            "photo_id": "000001",
            "box_id": "1",
            "bbox_xyxy_px": (0, 11, 353, 500),
            "labels": ("person",),
            "pose": "Left",
            "truncated": True,
            "difficult": False,
        },
        {
            "photo_id": "2008_000008",
            "box_id": "0",
            "bbox_xyxy_px": (44.7, 44, 230, 167.5),
            "labels": ("person",),
            "pose": "Unspecified",
            "occluded": True,
            "truncated": False,
            "difficult": True,
        },
    ]
    assert [(row["item"], row["photo_id"]) for row in unread] == [
        ("box", "2008_000008"),
        ("photo", "bomb"),
        ("photo", "cut"),
        ("photo", "other"),
        ("photo", "x"),
    ]
    assert "document type" in unread[1]["detail"]


def test_voc_file_that_breaks_off_takes_the_boxes_before_it_along(tmp_path):
    folder = tmp_path / "Annotations"
    folder.mkdir()
    (folder / "whole.xml").write_text(VOC2007)
    (folder / "cut.xml").write_text(VOC2007[:-10])
    (folder / "wrong.xml").write_text(VOC2007[: -len("</annotation>")] + "</anotation>")
    _, boxes, unread = read(VocSource(name="voc", photos=tmp_path, annotations=folder), tmp_path)
    assert list(boxes) == [("whole", "1")]
    assert [(row["item"], row["photo_id"], row["box_id"], row["reason"]) for row in unread] == [
        ("photo", "cut", None, Reason.ANNOTATIONS_CUT),
        ("box", "cut", "1", Reason.ANNOTATIONS_CUT),
        ("photo", "wrong", None, Reason.BROKEN_RECORD),
        ("box", "wrong", "1", Reason.BROKEN_RECORD),
    ]


def test_voc_without_a_person_says_which_labels_there_are(tmp_path):
    folder = tmp_path / "Annotations"
    folder.mkdir()
    (folder / "1.xml").write_text(VOC2007.replace(">person<", ">cat<"))
    with pytest.raises(ValueError, match=r"Annotations has none of the labels person, .*, only dog, cat"):
        read(VocSource(name="voc", photos=tmp_path, annotations=folder), tmp_path)


def test_voc_lines_that_mean_one_file_are_refused(tmp_path):
    folder = tmp_path / "Annotations"
    folder.mkdir()
    for name in ("1", "2", "a b"):
        (folder / f"{name}.xml").write_text(VOC2007)
    (tmp_path / "set.txt").write_text("x/1.jpg\ny/1.jpg\n/data/VOC/JPEGImages/2.jpg\n../up\na b\n")
    source = VocSource(name="voc", photos=tmp_path, annotations=folder, image_set=tmp_path / "set.txt")
    photos, _, unread = read(source, tmp_path)
    assert set(photos) == {"2", "a b"}
    assert sorted((row["photo_id"], row["reason"]) for row in unread) == [
        ("../up", Reason.PATH_OUTSIDE_ROOT),
        ("x/1.jpg", Reason.CONTESTED_PATH),
        ("y/1.jpg", Reason.CONTESTED_PATH),
    ]


def test_voc_image_set_decides_what_is_read(tmp_path):
    folder = tmp_path / "Annotations"
    folder.mkdir()
    for name in ("000001", "2008_000008"):
        (folder / f"{name}.xml").write_text(VOC2007)
    (tmp_path / "person_train.txt").write_text("000001 -1\n\nabsent  1\n")
    source = VocSource(name="voc", photos=tmp_path, annotations=folder, image_set=tmp_path / "person_train.txt")
    photos, _, unread = read(source, tmp_path)
    assert list(photos) == ["000001"]
    assert [row["photo_id"] for row in unread] == ["absent"]
    assert [path.name for path in source.annotation_files()] == ["person_train.txt"]


# Folder


def test_folder_lists_photos_and_no_link_leads_out_or_round(tmp_path):
    root = tmp_path / "root"
    for name in ("a.jpg", "a.png", "b c/Ünï.JPEG", "b c/d.WebP", "b c/notes.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.close(os.open(os.fsencode(root) + b"/\xff.jpg", os.O_CREAT))
    (tmp_path / "secret.jpg").touch()
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "inside.jpg").symlink_to(root / "a.jpg")
    (root / "up").symlink_to(tmp_path)
    (root / "b c/round").symlink_to(root)
    (root / "self").symlink_to("self")
    source = FolderSource(name="f", photos=root)
    photos, boxes, unread = read(source, tmp_path)
    assert not boxes
    assert [row["path"] for row in photos.values()] == ["a.jpg", "a.png", "b c/d.WebP", "b c/Ünï.JPEG", "inside.jpg"]
    assert all(row["photo_id"] == row["path"] for row in photos.values())
    assert sorted((row["item"], row["reason"]) for row in unread) == [
        ("photo", Reason.BROKEN_RECORD),
        ("photo", Reason.PATH_OUTSIDE_ROOT),
        ("record", Reason.NOT_A_PHOTO),
        ("record", Reason.NOT_A_PHOTO),
        ("record", Reason.PATH_OUTSIDE_ROOT),
    ]
    before = source.what_is_read(photos_of(source.photos, Store(str(tmp_path))))
    (root / "a.jpg").write_bytes(b"x")
    assert source.what_is_read(photos_of(source.photos, Store(str(tmp_path)))) != before


@pytest.mark.parametrize(
    ("path", "outside"),
    [
        ("a/b.jpg", False),
        ("a..b/..c.jpg", False),
        ("a\\b.jpg", False),
        ("sp ace/Ü.jpg", False),
        ("/etc/passwd", False),
        ("../a.jpg", True),
        ("a/../../b.jpg", True),
        ("a\\..\\..\\b.jpg", True),
        ("\\\\server\\a.jpg", False),
        ("C:\\a.jpg", False),
        ("a\0.jpg", True),
        ("", True),
    ],
)
def test_paths_that_lead_outside_by_their_letters(path, outside):
    assert leads_outside(path) is outside
