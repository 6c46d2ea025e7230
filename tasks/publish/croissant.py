"""Croissant 1.1 metadata of a snapshot: what its files are and what their columns mean, for machines."""

import json
from typing import Any

import mlcroissant as mlc
import pyarrow as pa

from storage.snapshot import Manifest

_TYPES = {
    pa.string(): mlc.DataType.TEXT,
    pa.int32(): mlc.DataType.INT32,
    pa.uint64(): mlc.DataType.UINT64,
    pa.float32(): mlc.DataType.FLOAT32,
    pa.float64(): mlc.DataType.FLOAT64,
}
_PARQUET = ["application/x-parquet"]
PAPER = "Human Body Restoration with One-Step Diffusion Model and A New Benchmark, ICML 2025, arXiv:2502.01411"
PAPER_URL = "https://arxiv.org/abs/2502.01411"


def croissant(manifest: Manifest, schema: pa.Schema) -> str:
    """JSON-LD with every Parquet file and its SHA-256, and one record set per split.

    There is no date of publication in it, so that equal snapshots are equal to the byte.

    Raises:
        mlcroissant.ValidationError: it would not be valid.
    """
    parts = [file for file in manifest.files if file.split]
    splits = list(dict.fromkeys(file.split for file in parts if file.split))
    files = [
        mlc.FileObject(
            id=file.path,
            name=file.path,
            content_url=file.path,
            content_size=f"{file.bytes} B",
            encoding_formats=_PARQUET,
            sha256=file.sha256,
        )
        for file in parts
    ]
    sets = [
        mlc.FileSet(id=f"{s}-files", name=s, encoding_formats=_PARQUET, includes=[f"{s}/*.parquet"]) for s in splits
    ]
    metadata = mlc.Metadata(
        name=manifest.id,
        description="Square crops of people out of annotated photos, chosen by their image quality.",
        url=PAPER_URL,  # of the method; the snapshot itself lies wherever its maker keeps it
        version="1.0.0",
        license=["Every photo keeps its own licence: see the columns licence and licence_url of its row."],
        cite_as=PAPER,
        distribution=[*files, *sets],
        record_sets=[_record_set(split, schema) for split in splits],
    )
    if metadata.issues.errors:
        raise mlc.ValidationError(metadata.issues.report())
    return json.dumps(metadata.to_json(), indent=1, ensure_ascii=False) + "\n"


def _record_set(split: str, schema: pa.Schema) -> mlc.RecordSet:
    return mlc.RecordSet(id=split, name=split, fields=[_field(split, field) for field in schema])


def _field(split: str, field: pa.Field) -> mlc.Field:
    kind: dict[str, Any]
    source = mlc.Source(file_set=f"{split}-files", extract=mlc.Extract(column=field.name))
    if field.name == "image":
        kind = {"data_types": [mlc.DataType.IMAGE_OBJECT]}
        source.transforms = [mlc.Transform(json_path="bytes")]
    elif pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
        lengths, innermost = [], field.type
        while not pa.types.is_primitive(innermost):
            lengths.append(innermost.list_size if pa.types.is_fixed_size_list(innermost) else -1)
            innermost = innermost.value_type
        kind = {"is_array": True, "array_shape": ",".join(map(str, lengths)), "data_types": [_TYPES[innermost]]}
    else:
        kind = {"data_types": [_TYPES[field.type]]}
    return mlc.Field(id=f"{split}/{field.name}", name=field.name, source=source, **kind)
