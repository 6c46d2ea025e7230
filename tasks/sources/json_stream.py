"""A JSON object with long arrays (COCO's shape), item by item in one pass, in memory that does not grow with the file.

The standard library's scanner does the parsing, one item at a time out of a buffer. Against an event parser such as
ijson it takes NaN and Infinity, which Python writes and JSON forbids, gives every item before the place where a file
is cut, and needs one pass for all arrays instead of one each.
"""

import codecs
import json
import json.scanner
import re
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any

from storage.errors import InputError
from tasks.sources.annotation_file import AnnotationFile

READ_BYTES = 1 << 20
MAX_ITEM_CHARS = 1 << 25
"""No item of an annotation file is longer (COCO's longest are 1 MB); text that long without an end is broken."""

_MARK = re.compile(r'["\[\]{}]')
_REST_OF_TEXT = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r]*")
_AFTER_ITEM = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
_scan: Callable[[str, int], tuple[Any, int]] = json.scanner.make_scanner(json.JSONDecoder())  # type: ignore[arg-type]


class CutError(Exception):
    """The file ends, or stops being JSON, before its last bracket; the message says where."""


class TooDeep:
    """Stands for an item with more brackets inside each other than the parser takes."""

    def __repr__(self) -> str:
        return "nested too deeply"


def arrays_of(path: AnnotationFile, keys: Collection[str]) -> Iterator[tuple[str, Iterator[Any]]]:
    """(key, items) of the named arrays in the file's top-level object, in its order; each is to be read to its end.

    Values that are no arrays and keys that are not named are passed over unparsed.

    Raises:
        ValueError: the file holds something other than a JSON object, or something behind it.
        CutError: here or by the items, after every item in front of the cut was given.
    """
    with path.open("rb") as file:
        window = _Window(file, path)
        first = window.next_char()
        if first and first != "{":
            raise InputError(f"{path} is no JSON object: it starts with {first!r}")
        window.at += 1
        if window.next_char() == "}":
            window.at += 1
            window.expect_end()
            return
        while window.next_char() == '"':
            key = window.value()
            window.expect(":")
            if window.next_char() == "[" and key in keys:
                window.at += 1
                yield key, window.items(key)
            else:
                window.skip()
            window.expect(",}")
            if window.last == "}":
                window.expect_end()
                return
        raise window.cut("between two keys")


def find_records(path: AnnotationFile, key: str) -> list[dict[str, Any]] | None:
    """The first array of objects with an id that stands under `key` anywhere in the file, or None.

    COCO's short tables stand behind its long ones, so they have to be known before the one pass over the file meets
    them. This looks for the key's letters, much faster than a parser; the caller checks against what it meets.
    """
    pattern = re.compile(rb'"' + key.encode() + rb'"[ \t\n\r]*:[ \t\n\r]*(?=\[)')
    with path.open("rb") as file:
        for offset in _offsets(file, pattern):
            file.seek(offset)
            try:
                value = _Window(file, path).value()
            except CutError:
                continue
            if isinstance(value, list) and all(isinstance(v, dict) and "id" in v for v in value):
                return value
    return None


def _offsets(file: IO[bytes], pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Where the matches of a short pattern end in a file."""
    tail, base = b"", 0
    while True:
        file.seek(base + len(tail))
        data = file.read(4 * READ_BYTES)
        if not data:
            return
        joined = tail + data
        yield from (base + match.end() for match in pattern.finditer(joined))
        tail = joined[-100:]  # a match across two reads is found with the second
        base += len(joined) - len(tail)


class _Window:
    """The part of a text file around the reading position."""

    def __init__(self, file: IO[bytes], path: AnnotationFile) -> None:
        self._file, self._path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode
        self._at_end = False
        self.text, self.at = "", 0
        self.last = ""
        """The separator that `expect` met."""

    def grow(self) -> bool:
        """Drop what was read and add a piece; False where there is no more, or where more would not help."""
        if self._at_end or len(self.text) - self.at > MAX_ITEM_CHARS:
            return False
        data = self._file.read(READ_BYTES)
        self._at_end = not data
        self.text = self.text[self.at :] + self._decode(data, self._at_end)
        self.at = 0
        return True

    def next_char(self) -> str:
        """The next character that is no white space, empty at the end; the position moves there."""
        while True:
            match = _SPACE.match(self.text, self.at)
            assert match
            self.at = match.end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.grow():
                return ""

    def expect(self, separators: str) -> None:
        """Step over the next character, which is one of `separators`."""
        self.last = self.next_char()
        if not self.last or self.last not in separators:
            raise self.cut("after a value")
        self.at += 1

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """The value at this position."""
        self.next_char()
        while True:
            try:
                value, end = _scan(self.text, self.at)
                if end < len(self.text) or self._at_end:  # else a number might go on
                    break
            except (StopIteration, ValueError, RecursionError):
                pass
            if not self.grow():
                raise self.cut("in a value")
        self.at = end
        return value

    def skip(self) -> None:
        """Step over the value at this position without parsing it, however long or deep it is."""
        depth = 0
        if self.next_char() not in ("{", "[", '"'):
            self.value()
            return
        while True:
            mark = _MARK.search(self.text, self.at)
            end = mark.end() if mark else len(self.text)
            if mark and mark[0] == '"':
                text = _REST_OF_TEXT.match(self.text, end)
                if text is None:
                    self.at = mark.start()
                    if not self.grow():
                        raise self.cut("in a text")
                    continue
                end = text.end()
            elif mark:
                depth += 1 if mark[0] in "[{" else -1
            self.at = end
            if mark and depth == 0:
                return
            if mark is None and not self.grow():
                raise self.cut("in a value")

    def expect_end(self) -> None:
        """Nothing but white space is left."""
        if self.next_char():
            raise InputError(
                f"{self._path} goes on behind the end of its JSON object, from byte {self._byte()} on: a file holds one"
            )

    def items(self, key: str) -> Iterator[Any]:
        """The items of an array; the position is behind its opening bracket."""
        if self.next_char() == "]":
            self.at += 1
            return
        num = 0
        text, at = self.text, self.at
        while True:
            try:
                item, end = _scan(text, at)
                after = _AFTER_ITEM.match(text, end)
            except (StopIteration, ValueError):
                after = None
            except RecursionError:
                self.at = at
                self.skip()
                self.expect(",]")
                num += 1
                yield TooDeep()
                if self.last == "]":
                    return
                self.next_char()
                text, at = self.text, self.at
                continue
            if after is None or (after.end() == len(text) and after[1] == ","):
                self.at = at
                if self.grow():
                    text, at = self.text, self.at
                    continue
                if after is None:
                    raise self.cut(f"in {key}, behind {num} complete ones")
            num += 1
            at = after.end()
            yield item
            if after[1] == "]":
                self.at = at
                return

    def cut(self, where: str) -> CutError:
        """What is wrong at this position."""
        return CutError(f"{self._path.name} cannot be read from byte {self._byte()} on, {where}")

    def _byte(self) -> int:
        return self._file.tell() - len(self.text[self.at :].encode("utf-8", "replace"))
