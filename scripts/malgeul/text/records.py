"""Raw records of text files, one at a time and in bounded memory: JSONL, tables, or a text file a document.

Nothing is thrown away without a word: a record that cannot be read comes with its fault and its place, and a file that
breaks off ends with one record CORRUPT for all that could not be read.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import Any

from malgeul.shards.faults import Fault, ItemFault, is_transient
from malgeul.shards.inputs import InputFile
from malgeul.shards.names import nfc
from malgeul.shards.sources import digests_of

CHUNK_BYTES = 1 << 20
ZSTD_CHUNK_BYTES = 512
"""Compressed bytes that are unpacked at once: in 4 bytes a hostile frame can say 128 KB, so in these 16 MB."""
ROWS_AT_ONCE = 1024
TABLE_BYTES = 1 << 24
"""Bytes of a table that are rows at once; fewer rows than ROWS_AT_ONCE where they are long."""

NO_JSONL = 1000
"""A file whose first so many records are no JSON in UTF-8 is no JSONL (an array over many lines, CSV, CP949): to list
the others, each as a fault, would take thirty times the memory of the file."""

_UNPACKERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_BREAKS_OFF = (EOFError, zlib.error, lzma.LZMAError, OSError, ValueError, NotImplementedError)
"""What readers raise on damaged bytes (gzip and Arrow: OSError without an errno; Arrow also ValueError and, for an
encoding it does not know, NotImplementedError)."""


@dataclass(frozen=True)
class Source:
    """How the files of a source are read. A large file has ``parts``, of which ``part`` is read."""

    name: str
    format: str
    text_field: str
    id_field: str | None
    files: list[InputFile]
    part: int = 0
    parts: int = 1

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Source:
        """Read what the rule says of a shard: its ``source`` and its ``files``."""
        return cls(**params["source"], files=[InputFile(**file) for file in params["files"]])


@dataclass(frozen=True)
class Record:
    """A record: its place (the file's name and the line's or row's number), and its fields or what is wrong with it.

    ``given_id`` is the id of its document where the ``file`` is one; another record has its own, or its text makes one.
    """

    place: str
    fields: dict[str, Any] | Fault
    given_id: str = ""
    file: str = ""


def read_source(source: Source, max_bytes: int) -> Iterator[Record]:
    """Yield the records of all files of a source.

    Raises OSError for a fault of the machine, RuntimeError for a file in parts that changed since it was planned.
    """
    for file in source.files:
        if file.fault:
            yield Record(file.shown, file.fault)
        else:
            yield from _read_file(source, file, max_bytes)


def _read_file(source: Source, file: InputFile, max_bytes: int) -> Iterator[Record]:
    path = Path(file.path)
    try:
        if source.parts > 1 and path.stat().st_size != file.size:
            raise RuntimeError(f"{path} changed while it was read in parts; run again")
        match source.format:
            case "txt":
                yield _read_whole(path, file.shown, source.text_field, max_bytes)
            case "parquet" | "arrow":
                yield from _read_table(path, file.shown, source, max_bytes)
            case _:
                yield from _read_jsonl(path, file, source, max_bytes)
    except (FileNotFoundError, NotADirectoryError):
        yield Record(file.shown, Fault("VANISHED", "the file was there when the run was planned"))
    except PermissionError:
        yield Record(file.shown, Fault("UNREADABLE", "no permission to read"))
    except ItemFault as found:
        yield Record(file.shown, found.fault)


def _rest(name: str, last: str, error: Exception) -> Record:
    """Return the record that stands for what could not be read of a file; raises ``error`` if it is the machine's."""
    if is_transient(error) or (isinstance(error, OSError) and error.errno is not None):
        raise error
    return Record(f"{name}:rest", Fault("CORRUPT", f"after {last} nothing can be read: {error}"))


# A text file a document


def _read_whole(path: Path, name: str, text_field: str, max_bytes: int) -> Record:
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    try:
        if len(data) > max_bytes:
            raise ItemFault("TOO_LARGE", f"more than {max_bytes} bytes")
        text = decode(data)
    except ItemFault as found:
        return Record(name, found.fault)
    place = PurePosixPath(nfc(name))
    # Only .txt is left out of the id: notes.txt and notes.md are two documents.
    return Record(name, {text_field: text}, str(place.with_suffix("") if place.suffix.lower() == ".txt" else place))


def decode(data: bytes) -> str:
    """Return UTF-8 bytes as text, without a byte order mark; raises ItemFault INVALID_UTF8 that says where."""
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ItemFault("INVALID_UTF8", f"byte {error.start}: {error.reason}") from None


# A line a document


def _read_jsonl(path: Path, file: InputFile, source: Source, max_bytes: int) -> Iterator[Record]:
    """Yield the records of a JSONL file, or of those lines that start in its part.

    A line's place is its number; in a part, which does not know how many lines come before it, the offset of its first
    byte in the file (``@123``). Blank lines are no records; of a file that is no JSONL (:data:`NO_JSONL`) the rest is
    one.
    """
    if path.stat().st_size == 0:
        raise ItemFault("EMPTY", "the file has no bytes")
    name = file.shown
    if source.parts == 1:
        lines = ((f"{name}:{number}", line) for number, line in enumerate_lines(path, max_bytes))
    else:
        offsets = part_lines(path, source.part, source.parts, max_bytes)
        lines = ((f"{name}:@{offset}", line) for offset, line in offsets)
    place = "its start"
    broken: int | None = 0  # how many records all were faults; None once one was not
    try:
        for place, line in lines:
            if isinstance(line, int):
                yield Record(place, Fault("TOO_LARGE", f"the line has {line} bytes, more than {max_bytes}"))
            elif line and not line.isspace():
                if broken == NO_JSONL:
                    reason = f"none of the first {NO_JSONL:,} records is a JSON object; no other was read"
                    yield Record(f"{name}:rest", Fault("BROKEN_JSON", reason))
                    return
                record = _parse(line, place, name)
                broken = broken + 1 if isinstance(record.fields, Fault) and broken is not None else None
                yield record
    except _BREAKS_OFF as error:
        yield _rest(name, place, error)


def _parse(line: bytes, place: str, name: str) -> Record:
    try:
        fields = json.loads(decode(line), parse_constant=lambda _: None)  # NaN, Infinity
    except ItemFault as found:
        return Record(place, found.fault)
    except (ValueError, RecursionError) as error:
        return Record(place, Fault("BROKEN_JSON", str(error)))
    if not isinstance(fields, dict):
        return Record(place, Fault("BROKEN_JSON", f"a JSON {type(fields).__name__}, not an object"))
    return Record(place, fields, file=name)


def enumerate_lines(path: Path, max_bytes: int) -> Iterator[tuple[int, bytes | int]]:
    """Yield (number from 1, line) of a file, unpacked by its suffix; of a longer line only its size in bytes."""
    for number, (_, line) in enumerate(split_lines(unpacked(path), max_bytes), start=1):
        yield number, line


def part_lines(path: Path, part: int, parts: int, max_bytes: int) -> Iterator[tuple[int, bytes | int]]:
    """Yield (offset, line) of the lines that start in part ``part`` of a file cut into ``parts`` ranges of bytes.

    Every line starts in exactly one range, so that the parts together are the file.
    """
    size = path.stat().st_size
    start, end = size * part // parts, size * (part + 1) // parts
    if start == end:
        return
    with path.open("rb") as file:
        # From one byte earlier: what comes up to the first line's end belongs to the part before.
        begin = max(start - 1, 0)
        file.seek(begin)
        for offset, line in split_lines(_chunks(file), max_bytes, begin):
            if offset >= end:
                return
            if offset >= start:
                yield offset, line


def part_digest(path: Path, part: int, parts: int, max_bytes: int) -> str:
    """Return the sha256 of what :func:`part_lines` yields: the part's content without reading the rest of the file."""
    digest = hashlib.sha256()
    for offset, line in part_lines(path, part, parts, max_bytes):
        digest.update(b"%d:" % offset)
        digest.update(b"%d bytes" % line if isinstance(line, int) else line)
    return digest.hexdigest()


def source_digests(params: dict[str, Any]) -> list[list[str]]:
    """Return what a shard's documents depend on of its files, by what its rule says: their names, and what they hold.

    Of one large file that is its own part: hashing the whole for every part would take longer.
    """
    source = Source.from_params(params)
    contents = digests_of(source.files) if source.parts == 1 or source.format != "jsonl" else []
    for file in source.files[len(contents) :]:
        try:
            path, max_bytes = Path(file.path), params["settings"]["max_record_bytes"]
            contents.append(part_digest(path, source.part, source.parts, max_bytes))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            contents += digests_of([file])
    return [[file.name, content] for file, content in zip(source.files, contents, strict=True)]


def split_lines(chunks: Iterable[bytes], max_bytes: int, offset: int = 0) -> Iterator[tuple[int, bytes | int]]:
    """Yield (offset, line without its end) of a stream that begins at ``offset``.

    Of a line longer than ``max_bytes`` comes only its size; no more than that and a chunk is ever held.
    """
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            size += len(piece)
            yield offset, size if size > max_bytes else b"".join([*held, piece])
            offset += size + 1
            held, size = [], 0
        size += len(rest)
        if size <= max_bytes:
            held.append(rest)
    if size:
        yield offset, size if size > max_bytes else b"".join(held)


def unpacked(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in chunks, unpacked as its suffix says; raises when it breaks off or is damaged."""
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        if suffix == ".zst":
            yield from _unpack_zstd(file)
        elif suffix in _UNPACKERS:
            with _UNPACKERS[suffix](file) as stream:
                yield from _chunks(stream)
        else:
            yield from _chunks(file)


def _chunks(file: BufferedIOBase) -> Iterator[bytes]:
    """Yield what a file gives; read1, since read loses what it has when the bytes after it are damaged."""
    yield from iter(partial(file.read1, CHUNK_BYTES), b"")


def _unpack_zstd(file: BufferedIOBase) -> Iterator[bytes]:
    """Unpack one frame after the other. The library's own readers end without a word where a file was cut off."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    frame = None
    try:
        while data := file.read(ZSTD_CHUNK_BYTES):
            while data:
                frame = frame or decompressor.decompressobj()
                yield frame.decompress(data)
                data = frame.unused_data
                if frame.eof:
                    frame = None
    except zstandard.ZstdError as error:
        raise ValueError(error) from error
    if frame is not None:
        raise EOFError("the compressed file was cut off")


# A row a document


@dataclass(frozen=True)
class Table:
    """An opened table: its columns, its number of rows, and its batches from a row on with their first row's number."""

    columns: Sequence[str]
    count: Callable[[], int]
    batches: Callable[[int], Iterator[tuple[int, Any]]]


@contextmanager
def _open_parquet(path: Path) -> Iterator[Table]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:

        def batches(start: int) -> Iterator[tuple[int, Any]]:
            first = 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if first + rows > start:
                    number = first
                    at_once = _rows_at_once(rows, file.metadata.row_group(group).total_byte_size)
                    for batch in file.iter_batches(batch_size=at_once, row_groups=[group]):
                        yield number, batch
                        number += batch.num_rows
                first += rows

        yield Table(file.schema_arrow.names, lambda: int(file.metadata.num_rows), batches)


@contextmanager
def _open_arrow(path: Path) -> Iterator[Table]:
    """Open a file of a dataset on disk (datasets' save_to_disk); it is mapped, so that counting rows reads no data."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped:

        def stream() -> Any:
            mapped.seek(0)
            return pa.ipc.open_stream(mapped)

        def batches(start: int) -> Iterator[tuple[int, Any]]:
            first = 0
            for batch in stream():
                for at in range(0, batch.num_rows, ROWS_AT_ONCE):
                    piece = batch.slice(at, ROWS_AT_ONCE)
                    if first + piece.num_rows > start:
                        yield first, piece
                    first += piece.num_rows

        yield Table(stream().schema.names, lambda: sum(batch.num_rows for batch in stream()), batches)


TABLES: dict[str, Callable[[Path], AbstractContextManager[Table]]] = {"parquet": _open_parquet, "arrow": _open_arrow}


def _read_table(path: Path, name: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """Yield rows [N·part/parts, N·(part+1)/parts) of a table; a row's number counts from 1."""
    if path.stat().st_size == 0:
        raise ItemFault("EMPTY", "the file has no bytes")
    place = "its start"
    try:
        with TABLES[source.format](path) as table:
            if source.text_field not in table.columns:
                columns = ", ".join(table.columns)
                raise ItemFault("MISSING_FIELD", f"no column {source.text_field!r}; there are: {columns}")
            for number, batch in _part_of(table, source.part, source.parts):
                for row, fields in enumerate(_rows(batch), start=number + 1):
                    place = f"{name}:{row}"
                    yield _checked(fields, place, name, source.text_field, max_bytes)
    except _BREAKS_OFF as error:
        yield _rest(name, place, error)


def _part_of(table: Table, part: int, parts: int) -> Iterator[tuple[int, Any]]:
    """Yield the batches of a part, cut to it, with their first row's number. A whole table is not counted first."""
    if parts == 1:
        yield from table.batches(0)
        return
    rows = table.count()
    start, end = rows * part // parts, rows * (part + 1) // parts
    for number, batch in table.batches(start):
        if number >= end:
            return
        skipped = max(start - number, 0)
        yield number + skipped, batch.slice(skipped, max(end - number - skipped, 0))


def _rows_at_once(rows: int, size: int) -> int:
    """Return how many of ``rows`` rows of ``size`` bytes are taken at once."""
    return max(1, min(ROWS_AT_ONCE, rows * TABLE_BYTES // max(size, 1)))


def _rows(batch: Any) -> Iterator[dict[str, Any] | Fault]:
    """Yield the rows of an Arrow batch; where one holds what Python cannot take, each is taken by itself."""
    at_once = _rows_at_once(batch.num_rows, batch.nbytes)
    for first in range(0, batch.num_rows, at_once):
        piece = batch.slice(first, at_once)
        try:
            yield from piece.to_pylist()
        except (ValueError, OverflowError):
            yield from map(_row, (piece.slice(row, 1) for row in range(piece.num_rows)))


def _row(alone: Any) -> dict[str, Any] | Fault:
    """Return a row's fields; what is none of Python's (the year 20000, an unknown time zone) as Arrow writes it."""
    fields = {}
    for name, column in zip(alone.schema.names, alone.columns, strict=True):
        try:
            [fields[name]] = column.to_pylist()
        except UnicodeDecodeError as error:
            return Fault("INVALID_UTF8", f"byte {error.start}: {error.reason}")
        except (ValueError, OverflowError):
            told = column.to_string(indent=0, skip_new_lines=True)
            fields[name] = told[1:-1] if told.startswith("[") else told
    return fields


def _checked(fields: dict[str, Any] | Fault, place: str, name: str, text_field: str, max_bytes: int) -> Record:
    if isinstance(fields, Fault):
        return Record(place, fields)
    text = fields[text_field]
    if isinstance(text, str | bytes) and len(text) > max_bytes:
        return Record(place, Fault("TOO_LARGE", f"the text has {len(text)} characters, more than {max_bytes} bytes"))
    return Record(place, fields, file=name)
