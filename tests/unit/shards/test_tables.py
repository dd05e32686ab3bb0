"""Tables: bytes depend on the rows alone, and no more rows wait in memory than a group may hold."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malgeul.shards.tables import ROWS_PER_GROUP, TableWriter, read_rows

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("text", pa.string())])


def write(file, rows, **options):
    with TableWriter(file, SCHEMA, **options) as table:
        table.write_all(rows)
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
