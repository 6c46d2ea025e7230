"""Where the mission's datasets are published, and what to write into a configuration once they are downloaded.

Every address was found in a public place that is named in `seen_in`; what could not be confirmed is left out, sizes and
checksums above all. Nothing here is downloaded by this project: the datasets have terms that somebody has to accept.
"""

from dataclasses import dataclass

_OBJECTS365 = "https://dorc.ks3-cn-beijing.ksyun.com/data-set/2020Objects365%E6%95%B0%E6%8D%AE%E9%9B%86"
_OPEN_IMAGES = "https://storage.googleapis.com/openimages"
_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"


@dataclass(frozen=True)
class Dataset:
    """One dataset: its page, its archives as far as they have public addresses, its licence, its layout."""

    name: str
    page: str
    licence: str
    archives: tuple[str, ...]
    """Addresses; where there are none, the page leads to them."""
    layout: str
    """What the archives hold."""
    configuration: str
    """A source of a configuration, for archives that were left as they are."""
    seen_in: str
    """Where the addresses are written."""
    checksums: tuple[str, ...] = ()


DATASETS = (
    Dataset(
        "coco",
        "https://cocodataset.org/#download",
        "annotations CC BY 4.0; photos under the Flickr licence that the file names for each",
        (
            "http://images.cocodataset.org/zips/train2017.zip",
            "http://images.cocodataset.org/zips/val2017.zip",
            "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        ),
        "train2017/000000000009.jpg …, annotations/instances_train2017.json",
        "format: coco\nname: coco\nphotos: train2017.zip\n"
        "annotations: annotations_trainval2017.zip/annotations/instances_train2017.json",
        "Ultralytics' get_coco.sh, and many scripts like it",
    ),
    Dataset(
        "open-images",
        f"{_OPEN_IMAGES}/web/download_v7.html",
        "annotations CC BY 4.0; photos listed as CC BY 2.0",
        (
            "s3://open-images-dataset/tar/train_0.tar.gz … train_9.tar.gz, train_a.tar.gz … train_f.tar.gz",
            f"{_OPEN_IMAGES}/v6/oidv6-train-annotations-bbox.csv",
            f"{_OPEN_IMAGES}/v5/class-descriptions-boxable.csv",
            f"{_OPEN_IMAGES}/2018_04/train/train-images-boxable-with-rotation.csv",
        ),
        "train_0/000002b66c9c498e.jpg …",
        "format: open_images\nname: open-images\nphotos: train_*.tar.gz\nboxes: oidv6-train-annotations-bbox.csv\n"
        "classes: class-descriptions-boxable.csv\nimage_ids: train-images-boxable-with-rotation.csv",
        "https://github.com/cvdfoundation/open-images-dataset; a public bucket, also read where it lies:"
        " photos: s3://open-images-dataset/tar/train_*.tar.gz?region=us-east-1&anonymous=true",
    ),
    Dataset(
        "objects365",
        "https://www.objects365.org",
        "annotations CC BY 4.0; photos from Flickr, each under its own licence",
        (
            f"{_OBJECTS365}/train/patch0.tar.gz … patch50.tar.gz",
            f"{_OBJECTS365}/train/zhiyuan_objv2_train.tar.gz",
            f"{_OBJECTS365}/val/images/v1/patch0.tar.gz … patch15.tar.gz",
            f"{_OBJECTS365}/val/images/v2/patch16.tar.gz … patch43.tar.gz",
            f"{_OBJECTS365}/val/zhiyuan_objv2_val.json",
        ),
        "patch8/objects365_v1_00420917.jpg …; the list says images/v1/patch8/objects365_v1_00420917.jpg",
        "format: objects365\nname: objects365\nphotos: patch*.tar.gz\nannotations: zhiyuan_objv2_train.tar.gz",
        "Ultralytics' Objects365.yaml, and MMYOLO's download_dataset.py",
    ),
    Dataset(
        "crowdhuman",
        "https://www.crowdhuman.org/download.html",
        "non-commercial research and education; the photos may not be passed on",
        (),
        "CrowdHuman_train01.zip … CrowdHuman_train03.zip, CrowdHuman_val.zip with Images/273271,1a0d6000b9e1f5b7.jpg …;"
        " annotation_train.odgt, annotation_val.odgt",
        "format: crowdhuman\nname: crowdhuman\nphotos: CrowdHuman_train*.zip\nannotations: annotation_train.odgt",
        "the page, which links to shared drives",
    ),
    Dataset(
        "voc",
        f"{_VOC}/voc2012",
        "photos under Flickr's terms",
        (
            f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
            f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
            f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar",
        ),
        "VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg …, VOCdevkit/VOC2012/Annotations/2007_000027.xml …",
        "format: voc\nname: voc2012\nphotos: VOCtrainval_11-May-2012.tar\nannotations: VOCtrainval_11-May-2012.tar",
        "torchvision's datasets/voc.py, which names the MD5 too",
        ("VOCtrainval_11-May-2012.tar  md5 6cd6e144f989b92b3379bac3b3de84fd",),
    ),
    Dataset(
        "lsdir",
        "https://data.vision.ee.ethz.ch/yawli/index.html",
        "research; see the page",
        (),
        "a folder per thousand photos; no boxes, the detector finds the people",
        "format: folder\nname: lsdir\nphotos: the folder with its archives, or the archives unpacked",
        "the page, which hands out the archives",
    ),
)
