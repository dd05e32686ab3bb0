"""Documents of a PostgreSQL server go through the real workflow, and their vectors back into it."""

import sqlite3

import pytest

from servers import postgres_server
from workflow.conftest import Workflow, tiny_inputs

psycopg = pytest.importorskip("psycopg")

TABLES = """
    CREATE TABLE statute_articles (id integer PRIMARY KEY, law_name text, article_no text, title text, text text);
    CREATE TABLE case_paragraphs (id integer PRIMARY KEY, case_id integer, para_index integer, text text);
"""


@pytest.fixture
def law(tmp_path):
    """Give the tiny corpus' database of law."""
    tiny_inputs(tmp_path)
    return tmp_path / "input/law.sqlite"


@pytest.fixture
def address(law):
    """A server with the statutes and cases of the tiny corpus."""
    with postgres_server() as address, psycopg.connect(address, autocommit=True) as connection:
        connection.execute(TABLES)
        with sqlite3.connect(law) as source:
            for table, columns in (("statute_articles", 5), ("case_paragraphs", 4)):
                rows = source.execute(f"SELECT * FROM {table}").fetchall()
                places = ", ".join(["%s"] * columns)
                connection.cursor().executemany(f"INSERT INTO {table} VALUES ({places})", rows)
        source.close()
        yield address


def ask(address, query):
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def test_vectors_go_back_to_the_server_and_one_more_document_runs_its_shard_only(tmp_path, address):
    databases = [{"name": "law", "path": address, "rows_per_shard": 12}]
    served = Workflow(tmp_path, {"run": "served", "documents": {"databases": databases, "write_back": "in_place"}})
    first = served.succeed()
    assert first.jobs["write_back"] == 1
    active = "SELECT count(*) FROM embeddings e JOIN embedding_versions v ON v.id = e.version_id AND v.is_active"
    given = sum(ledger["out"] for ledger in served.ledgers("embed").values())
    assert ask(address, active) == [(given,)]
    assert given > 0
    assert served.succeed().nothing_to_do

    ask(
        address,
        f"INSERT INTO statute_articles VALUES (9001, '법', '1', '제목', '{'새로운 조문이다. ' * 20}') RETURNING 1",
    )
    again = served.succeed()
    for rule in ("export_documents", "chunk_documents", "embed_chunks", "write_back"):
        assert again.jobs[rule] == 1, again.jobs
    assert served.ledger("write_back", "law")["measured"]["documents_new"] == 1
    assert ask(address, "SELECT count(*) FROM embedding_versions") == [(2,)]
