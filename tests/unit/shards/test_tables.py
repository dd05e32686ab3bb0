"""Tables: bytes depend on the rows alone, and no more rows wait in memory than a group may hold."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malgeul.shards.tables import DOCUMENTS, ROWS_PER_GROUP, TableWriter, read_rows, read_rows_at

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("text", pa.string())])


def write(file, rows, **options):
    with TableWriter(file, SCHEMA, **options) as table:
        for row in rows:
            table.write(row)
    metadata = pq.read_metadata(file)
    return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]


@pytest.mark.parametrize(
    ("characters", "groups"), [(1 << 24, [ROWS_PER_GROUP, 904]), (30_000, [3000, 2000]), (1, [1] * 5000)]
)
def test_a_group_ends_at_its_rows_or_its_characters_and_reading_gives_all_rows(tmp_path, characters, groups):
    rows = [{"id": k, "text": "가" * 10} for k in range(5000)]
    file = tmp_path / "a.parquet"
    assert write(file, rows, group_characters=characters) == groups
    assert list(read_rows(file)) == rows
    first = file.read_bytes()
    write(file, iter(rows), group_characters=characters)
    assert file.read_bytes() == first


def test_single_rows_are_read_from_the_groups_they_are_in_alone(tmp_path, monkeypatch):
    file = tmp_path / "rows.parquet"
    with TableWriter(file, DOCUMENTS, group_characters=100) as out:
        for n in range(20):
            out.write({"id": str(n), "text": "글" * 40, "source": "s", "meta": "{}"})
    groups = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, n, **named: (groups.append(n), read(self, n, **named))[1]
    )
    rows = read_rows_at(file, [17, 0, 1, 17], ["id"])
    assert rows == [{"id": "17"}, {"id": "0"}, {"id": "1"}, {"id": "17"}]
    assert len(groups) == 2
    with pytest.raises(KeyError):
        read_rows_at(file, [20])
