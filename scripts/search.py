"""Search the index of a run: the chunks nearest to a question, with their documents, places, scores and texts.

    python scripts/search.py "전세 계약을 해지하려면?" [--run demo | --results DIR] [-k 10] [--json]

Without a question, questions are read from standard input, one a line, and each is answered as it comes: the index and
the model are loaded once.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from malgeul.embedding.query import OtherModel
from malgeul.embedding.search import CannotSearch, Found, Searcher
from malgeul.models.hub import ModelNotFound
from malgeul.pages.quantities import duration
from malgeul.pages.visible import visible_line
from malgeul.plan import read_plan
from malgeul.shards.stopping import end_at_interrupt
from malgeul.startup import PLAN

MOST_SHOWN = 400
"""Characters of a chunk that are shown on a terminal; --json gives all."""


def open_searcher(results: Path) -> Searcher:
    """Return the searcher of the run in ``results``; raises SystemExit with a message when it cannot be searched."""
    if not (results / PLAN).is_file():
        raise SystemExit(f"malgeul: there is no run in {results}; run the workflow, or name another with --run")
    try:
        shards = read_plan(results / PLAN).embedded_shards
    except ValueError as error:
        raise SystemExit(f"malgeul: {error}") from None
    try:
        return Searcher(results, shards, len(os.sched_getaffinity(0)))
    except (CannotSearch, ModelNotFound, OtherModel) as error:
        raise SystemExit(f"malgeul: {error}") from None


def answer(searcher: Searcher, question: str, k: int, *, as_json: bool) -> bool:
    """Print the answer to a question; an error goes to standard error, or with ``as_json`` into the line."""
    started = time.perf_counter()
    try:
        found = searcher.search(question, k)
    except (ValueError, CannotSearch) as error:
        problem = str(error)
        if as_json:
            query = question.encode("utf-8", "backslashreplace").decode()
            print(json.dumps({"query": query, "error": problem}, ensure_ascii=False), flush=True)
        else:
            print(f"malgeul: {problem}", file=sys.stderr)
        return False
    seconds = time.perf_counter() - started
    if as_json:
        hits = [{**asdict(one), "score": round(one.score, 6)} for one in found]
        line = {"query": question, "seconds": round(seconds, 4), "hits": hits}
        print(json.dumps(line, ensure_ascii=False), flush=True)
    else:
        print("\n".join(lines_of(question, found, seconds)), flush=True)
    return True


def lines_of(question: str, found: Iterable[Found], seconds: float) -> list[str]:
    """Return an answer as it is read on a terminal."""
    lines = [f"{visible_line(question)}  ({duration(seconds)})"]
    for one in found:
        text = visible_line(one.text)
        shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
        place = f"{visible_line(f'{one.source}/{one.document}')}, characters {one.start:,} to {one.end:,}"
        lines += [f"{one.rank:3}. {one.score:.4f}  {place}", f"     {shown}"]
    return [*lines, ""]


def main() -> int:
    """Answer the question of the command line, or those of standard input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", nargs="?", help="without one, questions come from standard input, one a line")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--run", default="demo", help="name of the run: results/<run>/ (default: demo)")
    where.add_argument("--results", type=Path, help="folder of the run's results")
    parser.add_argument("-k", type=int, default=10, help="how many chunks (default: 10)")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    args = parser.parse_args()
    if args.k < 1:
        parser.error("-k: at least 1")
    if args.question is not None and not args.question.strip():
        parser.error("the question is empty")
    searcher = open_searcher(args.results or Path("results") / args.run)
    if args.question is not None:
        return 0 if answer(searcher, args.question, args.k, as_json=args.json) else 1
    with suppress(CannotSearch):  # the first answer pays for what is read and made once
        searcher.search("준비", args.k)
    for line in sys.stdin:
        answer(searcher, line.strip(), args.k, as_json=args.json)
    return 0


if __name__ == "__main__":
    end_at_interrupt()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads no further, as head does, is not answered further
    if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are no UTF-8 are the fault of their question alone
        sys.stdin.reconfigure(errors="surrogateescape")
    sys.exit(main())
