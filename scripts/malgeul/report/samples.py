"""What came out, to look at: a few transcripts, documents, masked samples and chunks, and an example per rejection.

Files are found through the ledgers. The first ones in the order of the plan are taken, so that the same results show
the same samples. Text is cut to excerpts: what is shown does not grow with the corpus.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from malgeul.pages.recordings import COLUMNS, entry_of
from malgeul.shards.ledger import Ledger

EXAMPLES = 3
EXCERPT = 280
"""Characters of a text that are shown."""
AROUND = 140
"""Characters shown on each side of a masked mention."""
LISTED = 10
"""Lines of boilerplate and names."""
SEGMENTS = 8
RECORDINGS = 200
"""Recordings listed with links to their pages; of the others the pages of their shards are linked."""
SHARDS_LISTED = 200
TRANSCRIPTS_SEARCHED = 50
"""Transcripts of a shard that are opened at most to find one in which anything is said."""


def excerpt(text: str) -> str:
    """Return the beginning of a text, with an ellipsis where it goes on."""
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT].rstrip()} …"


def outputs(ledgers: Iterable[Ledger], folder: str, suffix: str) -> Iterator[str]:
    """Yield the outputs in a folder of the results that end with ``suffix``, as names relative to the results."""
    for ledger in ledgers:
        yield from (name for name in sorted(ledger.outputs) if name.startswith(f"{folder}/") and name.endswith(suffix))


def rows_of(table: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table. Snakemake's own environment may lack pyarrow, and a failed run is reported from it."""
    from malgeul.shards.tables import read_rows

    return read_rows(table, columns)


def transcripts(results: Path, ledgers: Sequence[Ledger]) -> list[dict[str, Any]]:
    """Return transcripts in which something is said, one of each shard as far as it goes."""
    shown = []
    for ledger in ledgers:
        for name in islice(outputs([ledger], "transcripts", ".json"), TRANSCRIPTS_SEARCHED):
            transcript = json.loads((results / name).read_text(encoding="utf-8"))
            segments = [segment for segment in transcript["segments"] if segment["text"].strip()]
            if segments:
                shown.append(_transcript(results, name, transcript, segments))
                break
        if len(shown) == EXAMPLES:
            break
    return shown


def _transcript(results: Path, name: str, transcript: dict[str, Any], segments: list[dict[str, Any]]) -> dict[str, Any]:
    page = f"pages/{Path(name).parent.name}/{Path(name).stem}.html"
    return {
        "page": page if (results / page).is_file() else None,
        "name": transcript.get("name") or transcript["id"],
        "file": name,
        "model": (transcript.get("model") or {}).get("model"),
        "segments": [segment | {"text": excerpt(segment["text"])} for segment in segments[:SEGMENTS]],
        "more": max(0, len(segments) - SEGMENTS),
    }


def recordings(results: Path, ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """Return the first recordings that were analyzed, by name, how many there are, and the shards with further ones.

    ``shards`` are (shard, its recordings); each has a page that lists them.
    """
    shown: list[dict[str, Any]] = []
    further: list[tuple[str, int]] = []
    for ledger in ledgers:
        rows = (
            row for name in outputs([ledger], "conversation", ".parquet") for row in rows_of(results / name, COLUMNS)
        )
        here = list(islice(rows, RECORDINGS - len(shown)))
        shown += [entry_of(row, f"pages/{ledger.shard}/{row['id']}.html") for row in here]
        if len(here) < ledger.given.n:
            further.append((ledger.shard, ledger.given.n))
    return {
        "shown": sorted(shown, key=lambda entry: (entry["name"], entry["id"])),
        "n": sum(ledger.given.n for ledger in ledgers),
        "shards": further[:SHARDS_LISTED],
        "more_shards": len(further[SHARDS_LISTED:]),
    }


def documents(results: Path, ledgers: Sequence[Ledger]) -> list[dict[str, Any]]:
    """Return kept documents with what was measured of them, one of each shard as far as it goes."""
    shown = []
    columns = ["id", "source", "text", "features", "n_morphemes", "mentions"]
    for _, row in _first_rows(results, ledgers, "filtered", columns):
        features = {key: value for key, value in row["features"].items() if value is not None}
        names = list(dict.fromkeys(mention["surface"] for mention in row["mentions"]))[:8]
        shown.append(row | {"text": excerpt(row["text"]), "features": features, "names": names})
    return shown


def _first_rows(
    results: Path, ledgers: Iterable[Ledger], folder: str, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the first row of a shard's table in ``folder``, after the table's name, for as many shards as are shown."""
    tables = outputs(ledgers, folder, ".parquet")
    return islice(((name, row) for name in tables for row in islice(rows_of(results / name, columns), 1)), EXAMPLES)


def chunks(results: Path, ledgers: Sequence[Ledger]) -> list[dict[str, Any]]:
    """Return chunks with their places in their documents, one of each shard as far as it goes."""
    return [row | {"text": excerpt(row["text"])} for _, row in _first_rows(results, ledgers, "chunks")]


def selected_samples(results: Path, ledgers: Sequence[Ledger]) -> list[dict[str, Any]]:
    """Return selected samples with the text around the masked mention, one of each shard as far as it goes.

    Of a sequence, which has no entity, the beginning.
    """
    shown = []
    for name, sample in _first_rows(results, ledgers, "samples"):
        rows = rows_of(results / "filtered" / Path(name).name, ["id", "text", "mentions"])
        document = next(row for row in rows if row["id"] == sample["doc_id"])
        stretch = [("text", excerpt(document["text"][sample["masked_start"] : sample["masked_end"]]))]
        shown.append(sample | {"pieces": masked_text(document, sample) if sample["entity"] else stretch})
    return shown


def masked_text(document: Mapping[str, Any], sample: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the text around a sample's masked mention in pieces of a kind: text, mention or masked.

    The mention before it is shown too, and what lies between them is cut out where it is long.
    """
    text, start, end = document["text"], sample["masked_start"], sample["masked_end"]
    before = start - sample["distance"]
    places = sorted(
        (mention["start"], mention["end"], "masked" if mention["start"] == start else "mention")
        for mention in document["mentions"]
        if mention["start"] == start or mention["end"] == before
    )
    first, last = max(0, before - AROUND), min(len(text), end + AROUND)
    pieces = [("text", "… ")] if first else []
    reached = first
    for left, right, kind in places:
        pieces += [("text", _middle(text[reached:left])), (kind, text[left:right])]
        reached = right
    tail = text[reached:last] + (" …" if last < len(text) else "")
    return [piece for piece in (*pieces, ("text", tail)) if piece[1]]


def _middle(text: str) -> str:
    return text if len(text) <= 2 * AROUND else f"{text[:AROUND]} … {text[-AROUND:]}"


def boilerplate(results: Path, ledgers: Sequence[Ledger]) -> list[dict[str, Any]]:
    """Return the lines that most documents share, the beginnings of long ones."""
    rows = islice(_rows_of_run(results, ledgers, "boilerplate.parquet"), LISTED)
    return [row | {"text": excerpt(row["text"])} for row in rows]


def capped_names(results: Path, ledgers: Sequence[Ledger]) -> list[dict[str, Any]]:
    """Return the names over the cap that have most samples."""
    rows = _rows_of_run(results, ledgers, "entity_cap.parquet")
    return heapq.nlargest(LISTED, rows, key=lambda row: (row["samples"], row["entity"]))


def _rows_of_run(results: Path, ledgers: Sequence[Ledger], name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table of the whole run, if there is one."""
    if any(name in ledger.outputs for ledger in ledgers):
        yield from rows_of(results / name)


def rejections(results: Path, ledgers: Sequence[Ledger]) -> dict[str, dict[str, Any]]:
    """Return an example of every reason for which filter rejected a document: id, source, measured, threshold."""
    wanted = {reason for ledger in ledgers for reason in ledger.rejected}
    examples: dict[str, dict[str, Any]] = {}
    for ledger in ledgers:
        here = {reason for reason in ledger.rejected if reason not in examples}
        if not here:
            continue
        for name in outputs([ledger], "rejected", ".parquet"):
            for row in rows_of(results / name, ["id", "source", "reason", "measured", "threshold"]):
                if row["reason"] in here:
                    here.remove(row["reason"])
                    examples[row["reason"]] = row
                if not here:
                    break
        if examples.keys() >= wanted:
            break
    return examples
