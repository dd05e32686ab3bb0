"""Records come one by one, every one or its fault with its place, whatever the file and its state."""

import bz2
import gzip
import json
import lzma
import tracemalloc
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from malgeul.shards.faults import Fault
from malgeul.shards.inputs import InputFile
from malgeul.text.records import (
    NO_JSONL,
    Source,
    part_digest,
    part_lines,
    read_source,
    source_digests,
    split_lines,
    unpacked,
)
from unit.text.conftest import jsonl

LINES = [{"id": str(k), "text": f"{k}번 글입니다."} for k in range(3000)]
PACKED = {
    "jsonl": lambda data: data,
    "jsonl.gz": lambda data: gzip.compress(data, mtime=0),
    "jsonl.zst": zstandard.ZstdCompressor().compress,
    "jsonl.bz2": bz2.compress,
    "jsonl.xz": lzma.compress,
}


def read(path, *, kind="jsonl", max_bytes=1 << 20, part=0, parts=1, problem=None):
    size = path.stat().st_size if path.exists() else 0
    source = Source("web", kind, "text", "id", [InputFile(path.name, size, str(path), problem)], part, parts)
    return list(read_source(source, max_bytes))


def faults(records):
    return {r.place: r.fields.kind for r in records if isinstance(r.fields, Fault)}


def good(records):
    return [r.fields for r in records if not isinstance(r.fields, Fault)]


@pytest.mark.parametrize("suffix", PACKED)
def test_all_compressions_give_the_same_records(tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(PACKED[suffix](jsonl(*LINES)))
    records = read(file)
    assert good(records) == LINES
    assert records[2].place == f"a.{suffix}:3"


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKED if suffix != "jsonl"])
def test_of_a_file_that_was_cut_off_what_can_be_read_stays_and_the_rest_is_one_fault(tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    rows = [{"id": str(k), "text": f"{(k * 7919) % 10007:05d}" * 40} for k in range(20_000)]  # several bzip2 blocks
    packed = PACKED[suffix](jsonl(*rows))
    file.write_bytes(packed[: len(packed) * 3 // 4])
    records = read(file)
    assert faults(records) == {f"a.{suffix}:rest": "CORRUPT"}
    assert rows[: len(records) - 1] == good(records)
    assert len(records) > 1000


def test_damaged_bytes_in_a_compressed_file_are_a_fault_of_the_file(tmp_path):
    for suffix in ("jsonl.gz", "jsonl.zst", "jsonl.bz2", "jsonl.xz"):
        file = tmp_path / f"a.{suffix}"
        packed = bytearray(PACKED[suffix](jsonl(*LINES)))
        packed[len(packed) // 2 : len(packed) // 2 + 8] = b"damaged!"
        file.write_bytes(bytes(packed))
        assert set(faults(read(file)).values()) >= {"CORRUPT"}, suffix
        file.write_bytes(b"this was never compressed")
        assert faults(read(file)) == {f"a.{suffix}:rest": "CORRUPT"}


def test_frames_one_after_the_other_are_one_file(tmp_path):
    for suffix in ("jsonl.gz", "jsonl.zst"):
        file = tmp_path / f"a.{suffix}"
        file.write_bytes(PACKED[suffix](jsonl(*LINES[:10])) + PACKED[suffix](jsonl(*LINES[10:])))
        assert good(read(file)) == LINES


def test_bad_lines_are_named_by_number_and_class(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(
        b"\n".join(
            [
                b'\xef\xbb\xbf{"text": "a byte order mark before it"}',
                b'{"text": "broken',
                b'{"text": "\xff"}',
                b"",
                b'["a list"]',
                b'{"text": "' + b"x" * 200 + b'"}',
                b'{"text": "a carriage return after it", "nan": NaN}\r',
                b"[" * 100_000,
                b'{"text": "no line feed after it"}',
            ]
        )
    )
    records = read(file, max_bytes=150)
    assert faults(records) == {
        "a.jsonl:2": "BROKEN_JSON",
        "a.jsonl:3": "INVALID_UTF8",
        "a.jsonl:5": "BROKEN_JSON",
        "a.jsonl:6": "TOO_LARGE",
        "a.jsonl:8": "TOO_LARGE",
    }
    assert [r["text"].split()[0] for r in good(records)] == ["a", "a", "no"]
    assert faults(read(file))["a.jsonl:8"] == "BROKEN_JSON", "brackets without end"


def test_of_a_file_that_is_no_jsonl_the_ledger_does_not_list_every_line(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps([{"text": "가"}] * 1000, indent=1), encoding="utf-8")
    *first, rest = read(file)
    assert len(first) == NO_JSONL
    assert (rest.place, rest.fields.kind) == ("a.json:rest", "BROKEN_JSON")
    file.write_bytes(b'{"text": "one"}\n' + b"[\n" * 2000 + b'{"text": "two"}\n')
    assert len(read(file)) == 2002
    file.write_bytes(b"[\n" * NO_JSONL)
    assert len(read(file)) == NO_JSONL
    file.write_bytes('[\n{"text": "가"},\n'.encode("cp949") * NO_JSONL)
    assert len(read(file)) == NO_JSONL + 1, "in another encoding"


def test_a_line_of_any_length_is_passed_over_in_bounded_memory(tmp_path):
    file = tmp_path / "a.jsonl.zst"
    compressor = zstandard.ZstdCompressor()
    with file.open("wb") as out, compressor.stream_writer(out) as stream:
        stream.write(b'{"text": "')
        for _ in range(200):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n{"text": "after it"}\n')
    tracemalloc.start()
    records = read(file, max_bytes=1 << 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert faults(records) == {"a.jsonl.zst:1": "TOO_LARGE"}
    assert f"{(200 << 20) + 12} bytes" in records[0].fields.reason
    assert good(records) == [{"text": "after it"}]
    assert peak < 64 << 20


@settings(max_examples=150)
@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"x")), max_size=30),
    ended=st.booleans(),
    parts=st.integers(1, 9),
    limit=st.integers(1, 14),
)
def test_the_parts_of_a_file_are_the_file_without_loss_or_double(tmp_path_factory, lines, ended, parts, limit):
    file = tmp_path_factory.mktemp("parts") / "a.jsonl"
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    file.write_bytes(data)
    whole = list(split_lines([data], limit))
    assert [found for part in range(parts) for found in part_lines(file, part, parts, limit)] == whole
    assert [data[offset : offset + (line if isinstance(line, int) else len(line))] for offset, line in whole] == (
        data.split(b"\n") if data and not data.endswith(b"\n") else data.split(b"\n")[:-1]
    )


@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6), limit=st.integers(1, 20))
def test_lines_do_not_depend_on_how_the_bytes_arrive(data, cuts, limit):
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    chunks = [data[a:b] for a, b in pairwise(places)]
    assert list(split_lines(chunks, limit)) == list(split_lines([data], limit))


def test_parts_have_the_byte_where_a_record_starts_as_its_place(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(jsonl(*LINES))
    records = [record for part in range(3) for record in read(file, part=part, parts=3)]
    assert good(records) == LINES
    place = records[1500].place
    offset = int(place.rpartition("@")[2])
    assert json.loads(file.read_bytes()[offset:].split(b"\n")[0]) == LINES[1500]


def test_a_file_in_parts_that_changed_since_the_plan_breaks_the_step(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(jsonl(*LINES))
    source = Source("web", "jsonl", "text", "id", [InputFile("a.jsonl", 17, str(file))], 0, 2)
    with pytest.raises(RuntimeError, match="changed while it was read in parts"):
        list(read_source(source, 100))


@pytest.mark.parametrize("group", [700, 3000])
def test_parquet_is_read_by_rows_of_its_part(tmp_path, group):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(LINES), file, row_group_size=group)
    whole = read(file, kind="parquet")
    assert good(whole) == LINES
    assert whole[699].place == "a.parquet:700"
    for parts in (2, 7):
        assert [r for part in range(parts) for r in read(file, kind="parquet", part=part, parts=parts)] == whole


def test_a_dataset_on_disk_is_read_by_rows_of_its_part(tmp_path):
    rows = [{"id": str(k), "text": "가" * (k % 9 + 1)} for k in range(2500)]
    Dataset.from_list(rows).save_to_disk(tmp_path / "saved", num_shards=2)
    first, second = sorted((tmp_path / "saved").glob("*.arrow"))
    whole = read(first, kind="arrow")
    assert [record.fields for record in whole + read(second, kind="arrow")] == rows
    assert whole[699].place == f"{first.name}:700"
    for parts in (2, 7):
        assert [r for part in range(parts) for r in read(first, kind="arrow", part=part, parts=parts)] == whole


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_long_rows_of_a_table_are_few_at_once(tmp_path, kind):
    table = pa.table({"text": ["x" * (1 << 20)] * 100})
    file = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)
    source = Source("web", kind, "text", None, [InputFile(file.name, file.stat().st_size, str(file))])
    tracemalloc.start()
    characters = sum(len(record.fields["text"]) for record in read_source(source, 1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert characters == 100 << 20
    assert peak < 40 << 20


def test_a_dataset_on_disk_that_is_damaged_loses_only_what_cannot_be_read(tmp_path):
    Dataset.from_list([{"text": "가" * 100, "id": str(k)} for k in range(5000)]).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    records = read(file, kind="arrow")
    assert faults(records) == {f"{file.name}:rest": "CORRUPT"}
    assert len(records) > 2000
    file.write_bytes(b"no Arrow at all")
    assert faults(read(file, kind="arrow")) == {f"{file.name}:rest": "CORRUPT"}


def test_parquet_with_bytes_that_are_no_text_loses_only_those_rows(tmp_path):
    file = tmp_path / "a.parquet"
    texts = pa.array([b"good", b"\xff\xfe", b"good too"]).cast(pa.binary())
    text = pa.StringArray.from_buffers(3, texts.buffers()[1], texts.buffers()[2])
    pq.write_table(pa.table({"id": ["a", "b", "c"], "text": text}), file)
    records = read(file, kind="parquet")
    assert faults(records) == {"a.parquet:2": "INVALID_UTF8"}
    assert [fields["id"] for fields in good(records)] == ["a", "c"]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (pa.array([0, 10**7], pa.int32()).cast(pa.date32()), "29349-01-26"),
        (pa.array([0, 10**17], pa.timestamp("ms")), "<value out of range: 100000000000000000>"),
        (pa.array([0, 1], pa.timestamp("s", "Nowhere/At_All")), "1970-01-01 00:00:01.000Z"),
    ],
)
def test_a_time_that_python_does_not_know_costs_no_row(tmp_path, times, told):
    file = tmp_path / "a.parquet"
    nested = pa.StructArray.from_arrays([times], names=["born"])
    pq.write_table(pa.table({"text": ["하나", "둘"], "born": times, "nested": nested}), file)
    known, odd = good(read(file, kind="parquet"))
    assert known["text"] == "하나"
    assert str(known["born"]).startswith("1970-01-01")
    assert (odd["text"], odd["born"]) == ("둘", told)
    assert told in odd["nested"]


def test_parquet_without_the_column_or_damaged_is_one_fault(tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["a", "b"]}), file)
    records = read(file, kind="parquet")
    assert faults(records) == {"a.parquet": "MISSING_FIELD"}
    assert "there are: body" in records[0].fields.reason
    file.write_bytes(b"PAR1 but no table")
    assert faults(read(file, kind="parquet")) == {"a.parquet:rest": "CORRUPT"}
    pq.write_table(pa.Table.from_pylist(LINES), file, row_group_size=1000, compression="zstd")
    data = bytearray(file.read_bytes())
    damaged = pq.read_metadata(file).row_group(1).column(1).data_page_offset
    data[damaged : damaged + 40] = b"\xff" * 40
    file.write_bytes(bytes(data))
    records = read(file, kind="parquet")
    assert faults(records) == {"a.parquet:rest": "CORRUPT"}
    assert good(records) == LINES[:1000]


def test_a_text_file_is_a_document_named_by_its_path(tmp_path):
    folder = tmp_path / "일기"
    folder.mkdir()
    file = folder / "봄.1.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "봄이 왔다.\n".encode())
    source = Source("notes", "txt", "text", "id", [InputFile("일기/봄.1.txt", 1, str(file))])
    (record,) = read_source(source, 100)
    assert (record.place, record.given_id, record.fields) == ("일기/봄.1.txt", "일기/봄.1", {"text": "봄이 왔다.\n"})
    (record,) = read_source(source, 10)
    assert record.fields.kind == "TOO_LARGE"
    file.write_bytes("봄이 왔다.".encode("cp949"))
    (record,) = read_source(source, 100)
    assert record.fields.kind == "INVALID_UTF8"


def test_a_markdown_file_is_another_document_than_the_text_of_its_name(tmp_path):
    for name in ("notes.txt", "notes.md"):
        (tmp_path / name).write_text("# 제목\n본문", encoding="utf-8")
    ids = [read(tmp_path / name, kind="txt")[0].given_id for name in ("notes.txt", "notes.md")]
    assert ids == ["notes", "notes.md"]


@pytest.mark.parametrize("kind", ["jsonl", "txt", "parquet"])
def test_a_file_that_cannot_be_opened_is_one_fault(tmp_path, kind):
    assert faults(read(tmp_path / "gone", kind=kind)) == {"gone": "VANISHED"}
    assert faults(read(tmp_path / "x", kind=kind, problem="UNREADABLE: no permission")) == {"x": "UNREADABLE"}


def test_a_file_without_bytes_is_a_fault(tmp_path):
    for name, kind in (("a.jsonl", "jsonl"), ("a.parquet", "parquet")):
        (tmp_path / name).write_bytes(b"")
        assert faults(read(tmp_path / name, kind=kind)) == {name: "EMPTY"}


def test_a_fault_of_the_machine_is_none_of_the_file(tmp_path, monkeypatch):
    file = tmp_path / "a.jsonl"
    file.write_bytes(jsonl(*LINES))

    def fail(path):
        yield b'{"text": "a"}\n'
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("malgeul.text.records.unpacked", fail)
    with pytest.raises(OSError, match="Input/output"):
        read(file)


def test_unpacking_ends_with_an_error_where_a_frame_is_cut_off(tmp_path):
    file = tmp_path / "a.zst"
    file.write_bytes(zstandard.ZstdCompressor().compress(b"x" * 1000)[:-2])
    with pytest.raises(EOFError):
        list(unpacked(file))


def test_a_part_is_known_by_its_own_bytes_alone(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(jsonl(*LINES))
    before = [part_digest(file, part, 4, 1 << 20) for part in range(4)]
    file.write_bytes(file.read_bytes().replace("2999번".encode(), "1000번".encode()))
    after = [part_digest(file, part, 4, 1 << 20) for part in range(4)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, True, False]


@pytest.mark.parametrize(("kind", "changed"), [("jsonl", [False, True]), ("parquet", [True, True])])
def test_a_part_depends_on_its_own_lines_and_on_the_whole_of_a_table(tmp_path, kind, changed):
    """The bytes of a table's part say nothing of its rows: where they lie is written at the end of the file."""

    def digests():
        source = {"name": "web", "format": kind, "text_field": "text", "id_field": "id", "parts": 2}
        files = [{"name": file.name, "path": str(file), "size": 1}]
        settings = {"max_record_bytes": 1 << 20}
        return [source_digests({"source": {**source, "part": k}, "files": files, "settings": settings}) for k in (0, 1)]

    file = tmp_path / f"a.{kind}"
    file.write_bytes(jsonl(*LINES))
    before = digests()
    file.write_bytes(file.read_bytes().replace("2999번".encode(), "1000번".encode()))
    after = digests()
    assert [old != new for old, new in zip(before, after, strict=True)] == changed
    file.unlink()
    assert digests() == [[[file.name, "VANISHED"]]] * 2


@pytest.mark.parametrize("kind", ["jsonl", "txt", "parquet"])
def test_a_record_may_have_as_many_bytes_as_is_said_and_knows_its_file(tmp_path, kind):
    file = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"text": ["x" * 300]}), file)
    else:
        file.write_text(json.dumps({"text": "x" * (300 - len('{"text": ""}'))}))
    (record,) = read(file, kind=kind, max_bytes=300)
    assert list(record.fields) == ["text"]
    assert (record.file or record.given_id) == ("a" if kind == "txt" else file.name), "what its id is made of"
    (record,) = read(file, kind=kind, max_bytes=299)
    assert record.fields.kind == "TOO_LARGE"
