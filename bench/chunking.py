"""Cutting documents into chunks: every strategy by punctuation and by Kiwi's sentences, and Kiwi doing nothing else.

    python bench/chunking.py [--characters N] [--runs N]

The documents are those of the demo's database, repeated. Every side runs in a process of its own, the sides in turn,
run after run; the model, the tokenizer and Kiwi are loaded before the clock starts.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import cycle
from pathlib import Path

from sides import CORES, Result, clock, peak_mb, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

STRATEGIES = ("standard", "dynamic", "hybrid", "tokens")
SPLITTERS = ("punctuation", "kiwi")
LIMIT = "Kiwi alone"
BATCH = 512

Documents = Sequence[tuple[str, str | None]]


def some_documents(characters: int) -> Documents:
    """Return the documents of the demo's database with their kinds, again and again, a number before each."""
    from malgeul.embedding.database import read_documents
    from malgeul.embedding.settings import Database

    path = ROOT / "resources/demo/documents/law.sqlite"
    settings = Database(path=str(path))
    found = [(one.text, one.meta["kind"]) for one in read_documents(path, settings, 0, 1) if one.text]
    documents: list[tuple[str, str | None]] = []
    for number, (text, kind) in enumerate(cycle(found)):
        if characters <= 0:
            return documents
        documents.append((f"{number} {text}", kind))
        characters -= len(text)
    raise AssertionError("the demo's database has documents")


def chunk(documents: Documents, strategy: str, sentences: str) -> Result:
    """Cut documents as the rule does, a batch at a time."""
    from malgeul.embedding.chunker import Chunker
    from malgeul.embedding.sentences import SentenceProcess
    from malgeul.embedding.settings import ChunkSettings
    from malgeul.embedding.tokens import load_text_tokenizer

    tokenizer = load_text_tokenizer(
        {"model": str(ROOT / "resources/models/embed-ko-demo"), "revision": None, "prompt": None}
    )
    result: Result = {"chunks": 0}
    settings = ChunkSettings(strategy=strategy, sentences=sentences)
    with ExitStack() as stack:
        process = stack.enter_context(SentenceProcess(CORES)) if sentences == "kiwi" else None
        list(process.analyze(["말글"]) if process else [])
        chunker = Chunker(settings, tokenizer, process)
        with clock(result):
            for first in range(0, len(documents), BATCH):
                result["chunks"] += sum(len(cut.chunks) for cut in chunker.cut(documents[first : first + BATCH]))
    result["peak_mb"] = peak_mb()
    return result


def kiwi_alone(documents: Documents) -> Result:
    """Kiwi's sentences of the documents that are more than one chunk of 800 characters: the physical limit."""
    from kiwipiepy import Kiwi

    kiwi = Kiwi(num_workers=CORES)
    kiwi.split_into_sents("말글")
    result: Result = {"chunks": 0, "peak_mb": 0.0}
    with clock(result):
        long = (text for text, _ in documents if len(text) > 800)
        result["sentences"] = sum(len(found) for found in kiwi.split_into_sents(long, return_sub_sents=False))
    return result


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--characters", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        documents = json.loads(given.file.read_text(encoding="utf-8"))
        print(json.dumps(kiwi_alone(documents) if given.side == LIMIT else chunk(documents, *given.side.split())))
        return
    sides = [f"{strategy} {splitter}" for strategy in STRATEGIES for splitter in SPLITTERS]
    documents = some_documents(given.characters)
    characters = sum(len(text) for text, _ in documents)
    print(f"{platform.machine()}, {CORES} cores; kiwipiepy {version('kiwipiepy')}; {len(documents):,} documents\n")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "documents.json"
        file.write_text(json.dumps(documents), encoding="utf-8")
        results = [{side: run_side(__file__, side, file) for side in [*sides, LIMIT]} for _ in range(given.runs)]
    print("| strategy | sentences | chunks | chunks/s | characters/s | Kiwi alone takes, of its time (spread) | peak |")
    print("|---|---|---|---|---|---|---|")
    for side in sides:
        runs = [run[side] for run in results]
        seconds = statistics.median(run["seconds"] for run in runs)
        limit = ratios(runs, [run[LIMIT] for run in results]) if side.endswith("kiwi") else ""
        print(
            f"| {side.replace(' ', ' | ')} | {runs[0]['chunks']:,} | {runs[0]['chunks'] / seconds:,.0f} |"
            f" {characters / seconds:,.0f} | {limit} | {max(run['peak_mb'] for run in runs):,.0f} MB |"
        )


if __name__ == "__main__":
    main()
