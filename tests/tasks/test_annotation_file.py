"""The same annotations however they are packed."""

import gzip
import tarfile
import zipfile

import pytest
from pydantic import TypeAdapter, ValidationError

from storage.errors import InputError, PersonaError
from tasks.sources.annotation_file import AnnotationFile, AnnotationFiles

TEXT = b'{"images": []}\n' * 200_000


@pytest.fixture
def packed(tmp_path):
    inner = tmp_path / "annotations/instances.json"
    inner.parent.mkdir()
    inner.write_bytes(TEXT)
    (tmp_path / "instances.json.gz").write_bytes(gzip.compress(TEXT))
    with zipfile.ZipFile(tmp_path / "one.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, "annotations/instances.json")
        archive.writestr("__MACOSX/annotations/._instances.json", "litter")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.write(inner, "annotations/instances.json")
        archive.writestr("annotations/other.json", "{}")
    for name, mode in (("one.tar", "w"), ("one.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(inner, "instances.json")
    return tmp_path


PLACES = ["annotations/instances.json", "instances.json.gz", "one.zip", "two.zip/annotations/instances.json", "one.tar"]


@pytest.mark.parametrize("place", [*PLACES, "one.tar.gz", "one.tar.gz/instances.json"])
def test_it_opens_like_a_path(packed, place):
    (file,) = TypeAdapter(AnnotationFiles).validate_python(str(packed / place))
    assert (file.name, file.stem) == ("instances.json", "instances")
    assert file.read_bytes() == TEXT
    with file.open("rb") as opened:
        assert opened.read(30) == TEXT[:30]
        opened.seek(2_000_000)
        assert opened.read(15) == TEXT[2_000_000:2_000_015]
        opened.seek(0)
        assert opened.readline() == TEXT[:15]
    with file.open(encoding="utf-8-sig", newline="") as opened:
        assert opened.readline() == '{"images": []}\n'
    assert file.sha256() == AnnotationFile(str(packed / PLACES[0])).sha256()


def test_what_is_not_there_or_not_clear_is_one_sentence(packed):
    for place, words in (("no.json", "correct the path"), ("annotations", "is a folder")):
        with pytest.raises(ValidationError, match=words):
            TypeAdapter(AnnotationFiles).validate_python(str(packed / place))
    with pytest.raises(InputError, match="holds 2 files"):
        AnnotationFile(str(packed / "two.zip")).read_bytes()
    with pytest.raises(InputError, match="holds no x"):
        AnnotationFile(str(packed / "two.zip/x.json")).read_bytes()
    for name in ("instances.json.gz", "one.zip", "one.tar.gz"):
        (packed / name).write_bytes((packed / name).read_bytes()[:200])
        with pytest.raises(PersonaError, match="fetch it again"):
            AnnotationFile(str(packed / name)).read_bytes()
