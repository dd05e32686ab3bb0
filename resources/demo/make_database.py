"""Make the demo's law-firm database: fictitious statutes, cases, decisions and interpretations, and old embeddings.

The schema is the one that malgeul's users have, with its defects as found: text_chunks is unique over (source_type,
source_id, chunk_index) without the version, one number means different documents in different tables, and paragraphs
stand in no order. A paragraph over the old limit became an empty chunk. The same arguments give the same bytes with the
same SQLite.

    python resources/demo/make_database.py [--out FILE] [--expected FILE] [--documents N] [--seed S]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from writing.frames import expand, frames_of, in_order, replace_file

HERE = Path(__file__).resolve().parent

SCHEMA = """
CREATE TABLE statute_articles (
    id INTEGER PRIMARY KEY,
    law_name TEXT NOT NULL,
    article_no TEXT NOT NULL,
    title TEXT,
    text TEXT
);
CREATE TABLE case_paragraphs (
    id INTEGER PRIMARY KEY,
    case_id INTEGER NOT NULL,
    para_index INTEGER NOT NULL,
    text TEXT
);
CREATE TABLE decision_paragraphs (
    id INTEGER PRIMARY KEY,
    decision_id INTEGER NOT NULL,
    para_index INTEGER NOT NULL,
    text TEXT
);
CREATE TABLE interpretation_paragraphs (
    id INTEGER PRIMARY KEY,
    interpretation_id INTEGER NOT NULL,
    para_index INTEGER NOT NULL,
    text TEXT
);
CREATE TABLE embedding_versions (
    id INTEGER PRIMARY KEY,
    version_name TEXT NOT NULL UNIQUE,
    chunking_strategy TEXT NOT NULL,
    model_name TEXT NOT NULL,
    is_active INTEGER NOT NULL DEFAULT 0,
    metadata TEXT
);
CREATE TABLE text_chunks (
    id INTEGER PRIMARY KEY,
    source_type TEXT NOT NULL,
    source_id INTEGER NOT NULL,
    level TEXT,
    chunk_index INTEGER NOT NULL,
    start_char INTEGER,
    end_char INTEGER,
    overlap_chars INTEGER,
    text TEXT NOT NULL,
    token_count INTEGER,
    meta TEXT,
    chunking_strategy TEXT,
    chunk_size_category TEXT,
    query_type TEXT,
    chunk_group_id TEXT,
    original_document_id TEXT,
    embedding_version_id INTEGER REFERENCES embedding_versions (id),
    UNIQUE (source_type, source_id, chunk_index)
);
CREATE TABLE embeddings (
    chunk_id INTEGER NOT NULL REFERENCES text_chunks (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    dim INTEGER NOT NULL,
    vector BLOB NOT NULL,
    version_id INTEGER REFERENCES embedding_versions (id),
    PRIMARY KEY (chunk_id, model)
);
CREATE INDEX case_paragraphs_case_id ON case_paragraphs (case_id);
"""

TURN = (
    "statute", "case", "statute", "decision", "statute", "case", "statute", "interpretation", "statute", "case",
    "statute", "decision",
)  # fmt: skip
"""Which kind the next document is."""
PARAGRAPHS_OF = {
    "case": "INSERT INTO case_paragraphs (case_id, para_index, text) VALUES (?, ?, ?)",
    "decision": "INSERT INTO decision_paragraphs (decision_id, para_index, text) VALUES (?, ?, ?)",
    "interpretation": "INSERT INTO interpretation_paragraphs (interpretation_id, para_index, text) VALUES (?, ?, ?)",
}
EMPTY_AT, SHORT_AT, LONG_AT, CYCLE = (9, 16), (12, 21, 25), (5, 17), 31
"""Of 31 documents, which have no text, which are under 50 characters, and which have a paragraph of over 2,000.

31 shares no factor with the twelve turns: every kind comes by every fault.
"""
OLD_MODEL, OLD_VERSION, OLD_DIM, OLD_CHUNK_CHARS, OLD_LIMIT = "some/old-model", "old-version", 8, 800, 2000
CIRCLED, SYLLABLES = "①②③④⑤⑥⑦⑧⑨", "가나다라마"


@dataclass(frozen=True)
class Document:
    """One document: an article, or the paragraphs of a case, decision or interpretation in their true order."""

    kind: str
    id: int
    paragraphs: list[str | None]
    law_name: str = ""
    article_no: str = ""
    title: str = ""

    @property
    def text(self) -> str:
        """The paragraphs joined in order."""
        return "\n".join(paragraph for paragraph in self.paragraphs if paragraph)

    @property
    def reason(self) -> str | None:
        """Why malgeul must reject it; None where it must keep it."""
        n_chars = len(self.text.strip())
        return "empty_text" if n_chars == 0 else "too_short" if n_chars < 50 else None


def read_law(folder: Path) -> dict[str, Any]:
    """Read the frames and word lists of the law's texts, and the names of people."""
    law: dict[str, Any] = yaml.safe_load((folder / "law.yaml").read_text(encoding="utf-8"))
    names: dict[str, str] = yaml.safe_load((folder / "names.yaml").read_text(encoding="utf-8"))
    return law | {key: names[key].split() for key in ("family", "given")}


def draw_words(law: dict[str, Any], rng: random.Random) -> dict[str, str]:
    """Return the words of one document for every slot of its frames."""
    places = rng.sample(law["places"].split(), 2)
    people = [f"{rng.choice(law['family'])}{given}" for given in rng.sample(law["given"], 2)]
    words = {
        "P": people[0], "Q": people[1],
        "O": rng.choice(law["organizations"].split()),
        "L": places[0], "M": places[1],
        "S": rng.choice(law["subjects"].split()),
        "G": rng.choice(law["bound"].split()),
        "A": rng.choice(law["authorities"].split()),
        "Y": rng.choice(law["causes"].split()),
        "date": f"{rng.randint(1, 12)}월 {rng.randint(1, 28)}일",
        "month": f"{rng.randint(1, 12)}월",
        "year": str(rng.randint(2005, 2023)),
    }  # fmt: skip
    return words | quoted(words)


def quoted(words: dict[str, str]) -> dict[str, str]:
    """Return the words that statutes define, in quotation marks."""
    return {"Sq": f"“{words['S']}”", "Gq": f"“{words['G']}”"}


def article_text(
    law: dict[str, Any], head: str, article: dict[str, Any], words: dict[str, str], rng: random.Random
) -> str:
    """Return an article: 제N조(title), clauses ①, items 1. under the clause that announces them, sub-items 가."""
    clauses = frames_of(article["clauses"])
    lines = []
    for number, clause in enumerate(clauses):
        sign = f"{CIRCLED[number]} " if len(clauses) > 1 else ""
        lines.append(f"{sign}{expand(clause, words, rng)}")
        if "각 호" not in clause or "items" not in article:
            continue
        for item_number, item in enumerate(frames_of(article["items"]), start=1):
            lines.append(f"  {item_number}. {expand(item, words, rng)}")
            if rng.random() < 0.2 and item.endswith(("자", "사람", "사항", "경우")):
                lines[-1] += ". 이 경우 다음 각 목을 포함한다."
                lines += [
                    f"    {SYLLABLES[at]}. {expand(frame, words, rng)}"
                    for at, frame in enumerate(in_order(frames_of(law["subitems"]), 3, rng))
                ]
    return f"{head} " + "\n".join(lines)


def statute(law: dict[str, Any], number: int, fate: str, rng: random.Random) -> Document:
    """Return article `number` of all: laws have as many articles as there are kinds, and each kind once."""
    kinds = law["articles"]
    law_number, article_number = divmod(number - 1, len(kinds))
    subjects, endings, levels = law["subjects"].split(), law["endings"].split("|"), law["levels"].split("|")
    rest, subject = divmod(law_number, len(subjects))
    rest, level = divmod(rest, len(levels))
    edition, ending = divmod(rest, len(endings))
    # Larger databases run out of names: then a law has a second edition.
    law_name = f"{subjects[subject]} {endings[ending]}{levels[level]}" + (f" ({edition + 1})" if edition else "")
    words = draw_words(law, rng) | {"S": subjects[subject]}
    words |= quoted(words)
    article = kinds[article_number]
    # An article put in later bears the number of the one before.
    article_no = f"제{article_number}조의2" if article_number in (7, 11) else f"제{article_number + 1}조"
    text: str | None = article_text(law, f"{article_no}({article['title']})", article, words, rng)
    if fate == "empty":
        text = rng.choice((None, "", " \n"))
    elif fate == "short":
        text = expand(rng.choice(frames_of(law["short_articles"])), words, rng)
    elif fate == "long":
        # Old acts have articles that list everything: clauses of many articles in one paragraph.
        more = [article_text(law, "", one, words, rng) for one in kinds]
        text = f"{text} {' '.join(' '.join(more).split())}"[:2600].rsplit(" ", 1)[0]
    return Document("statute", number, [text], law_name, article_no, article["title"])


def ruling(law: dict[str, Any], kind: str, number: int, fate: str, rng: random.Random) -> Document:
    """Return a case, decision or interpretation in paragraphs; some have an empty paragraph among the others."""
    words = draw_words(law, rng)
    if fate == "empty":
        return Document(kind, number, [rng.choice((None, "", "  ")) for _ in range(rng.randint(1, 2))])
    if fate == "short":
        return Document(kind, number, [expand(rng.choice(frames_of(law["short"])), words, rng)])
    frames = frames_of(law[kind])
    chosen = in_order(frames, rng.randint(len(frames) // 2, len(frames)), rng)
    paragraphs: list[str | None] = []
    while chosen:
        size = rng.randint(1, 3)
        paragraphs.append(" ".join(expand(frame, words, rng) for frame in chosen[:size]))
        chosen = chosen[size:]
    if fate == "long":
        # A judgment whose reasons are one paragraph, several transactions long.
        long = ""
        while len(long) <= OLD_LIMIT + 100:
            again = draw_words(law, rng) | {key: words[key] for key in ("P", "O")}
            long += " " + " ".join(expand(frame, again, rng) for frame in frames)
        paragraphs.insert(1, long.strip())
    elif rng.random() < 0.1:
        paragraphs.insert(rng.randint(1, len(paragraphs)), "")
    return Document(kind, number, paragraphs)


def make_documents(law: dict[str, Any], count: int, seed: int) -> Iterator[Document]:
    """Yield `count` documents; every kind numbers its own from 1."""
    numbers = dict.fromkeys(TURN, 0)
    for at in range(count):
        kind = TURN[at % len(TURN)]
        numbers[kind] += 1
        phase = at % CYCLE
        fate = "empty" if phase in EMPTY_AT else "short" if phase in SHORT_AT else "long" if phase in LONG_AT else ""
        rng = random.Random(f"{seed}/{kind}/{numbers[kind]}")
        if kind == "statute":
            yield statute(law, numbers[kind], fate, rng)
        else:
            yield ruling(law, kind, numbers[kind], fate, rng)


def unit_vector(dim: int, rng: random.Random) -> bytes:
    """Return a random direction as little-endian float32."""
    values = [rng.gauss(0, 1) for _ in range(dim)]
    norm = math.sqrt(sum(value * value for value in values))
    return struct.pack(f"<{dim}f", *(value / norm for value in values))


def old_chunks(document: Document) -> list[tuple[int, int, str]]:
    """Return start, end and text of the old program's chunks: an empty one where a paragraph was too long for it."""
    if any(paragraph and len(paragraph) > OLD_LIMIT for paragraph in document.paragraphs):
        return [(0, 0, "")]
    text = document.text
    return [
        (start, min(start + OLD_CHUNK_CHARS, len(text)), text[start : start + OLD_CHUNK_CHARS])
        for start in range(0, len(text), OLD_CHUNK_CHARS)
    ]


def insert_documents(connection: sqlite3.Connection, documents: list[Document], rng: random.Random) -> None:
    """Insert articles in order, and paragraphs shuffled: their order is para_index, not the order of rows."""
    connection.executemany(
        "INSERT INTO statute_articles (id, law_name, article_no, title, text) VALUES (?, ?, ?, ?, ?)",
        [(d.id, d.law_name, d.article_no, d.title, d.paragraphs[0]) for d in documents if d.kind == "statute"],
    )
    for kind, statement in PARAGRAPHS_OF.items():
        rows = [
            (document.id, at, paragraph)
            for document in documents
            if document.kind == kind
            for at, paragraph in enumerate(document.paragraphs)
        ]
        rng.shuffle(rows)
        connection.executemany(statement, rows)


def insert_old_version(connection: sqlite3.Connection, documents: list[Document], rng: random.Random) -> None:
    """Insert the embeddings of a program before malgeul: nine documents in ten of those with text."""
    connection.execute(
        "INSERT INTO embedding_versions VALUES (1, ?, 'standard', ?, 1, ?)",
        (OLD_VERSION, OLD_MODEL, json.dumps({"dim": OLD_DIM, "max_chars": OLD_CHUNK_CHARS})),
    )
    chunk_id = 0
    for document in documents:
        if document.reason is not None or rng.random() < 0.1:
            continue
        for index, (start, end, text) in enumerate(old_chunks(document)):
            chunk_id += 1
            level = "article" if document.kind == "statute" else "paragraph"
            connection.execute(
                "INSERT INTO text_chunks VALUES"
                " (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, '{}', 'standard', NULL, NULL, NULL, ?, 1)",
                (chunk_id, document.kind, document.id, level, index, start, end, text, len(text.split()),
                 f"{document.kind}_{document.id}"),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO embeddings VALUES (?, ?, ?, ?, 1)",
                (chunk_id, OLD_MODEL, OLD_DIM, unit_vector(OLD_DIM, rng)),
            )


def write_database(path: Path, documents: list[Document], seed: int) -> None:
    """Write the database beside its place and rename it; page size and journal are fixed, free pages gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.unlink(missing_ok=True)
    with closing(sqlite3.connect(beside, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.executescript(f"BEGIN; {SCHEMA}")
        insert_documents(connection, documents, random.Random(f"{seed}/paragraphs"))
        insert_old_version(connection, documents, random.Random(f"{seed}/embeddings"))
        connection.execute("COMMIT")
        connection.execute("VACUUM")
    beside.replace(path)


def expected_line(document: Document) -> str:
    """Return the verdict that malgeul must reach on the document, as JSON."""
    line = {
        "source_type": document.kind,
        "id": document.id,
        "verdict": "rejected" if document.reason else "kept",
        "reason": document.reason,
        "n_paragraphs": len(document.paragraphs),
    }
    return json.dumps(line, ensure_ascii=False)


def main() -> None:
    """Make the database and the file with the expected verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "documents" / "law.sqlite")
    parser.add_argument("--expected", type=Path, default=HERE / "expected" / "database.jsonl")
    parser.add_argument("--documents", type=int, default=144, help="how many documents")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.documents < 1:
        parser.error("--documents is at least 1")
    documents = list(make_documents(read_law(HERE / "writing"), arguments.documents, arguments.seed))
    write_database(arguments.out, documents, arguments.seed)
    lines = [expected_line(document) for document in documents]
    replace_file(arguments.expected, "".join(f"{line}\n" for line in lines).encode())
    print(f"{len(documents)} documents in {arguments.out}")


if __name__ == "__main__":
    main()
