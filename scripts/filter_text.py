"""Decide which of the screened documents of a shard stay, and find the proper nouns of those that do."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from malgeul.shards.faults import Fault
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, count_rows, read_rows
from malgeul.text.analyzer_process import ProcessAnalyzer
from malgeul.text.boilerplate import without_lines
from malgeul.text.duplicates import duplicates_of
from malgeul.text.filtering import (
    FILTERED,
    ONLY_BOILERPLATE,
    REJECTED,
    SCREEN_MEASURES,
    Candidate,
    Verdict,
    compare,
    judge,
    pack,
    screen,
    unpack,
)
from malgeul.text.morphology import MORPHEME_MEASURES
from malgeul.text.pii import mask
from malgeul.text.profiles import Rule, rules_of
from malgeul.text.settings import ScorerSettings

if TYPE_CHECKING:
    from snakemake.script import snakemake

BATCH = 512
"""Documents whose verdicts are recorded together: at most this many are analysed again after a kill."""


@dataclass
class Batch:
    """Documents that follow each other in the shard, the key of their verdicts, and those that are known.

    ``masked`` counts of each by kind the personal numbers that placeholders stand for, ``read`` what came
    in and was cut out as boilerplate.
    """

    key: str
    documents: list[dict[str, Any]]
    masked: list[Counter[str]]
    read: Counter[str]
    journaled: bool
    verdicts: list[Verdict] = field(default_factory=list)


def filter_text(job: Job) -> None:
    """Write the documents that stay with their morphemes' facts, and a row for every other one."""
    rules = rules_of(job.params["profile"], job.params["thresholds"])
    measure_all = job.params["measure"] == "all"
    measures = [rule.measure for rule in rules if rule.measure in MORPHEME_MEASURES]
    under_way: deque[Batch] = deque()
    counts = Counter(characters_in=0, characters_out=0, morphemes=0, mentions=0)
    with ExitStack() as stack:
        filtered = stack.enter_context(TableWriter(job.staged("filtered"), FILTERED))
        rejected = stack.enter_context(TableWriter(job.staged("rejected"), REJECTED))
        progress = stack.enter_context(job.progress(count_rows(job.input("text"))))
        analyzer = stack.enter_context(ProcessAnalyzer(job.threads, measures))
        candidates = _candidates(job, under_way, rules, measure_all=measure_all)
        for verdict in judge(candidates, rules, analyzer.analyze, measure_all=measure_all):
            batch = under_way[0]
            batch.verdicts.append(verdict)
            if len(batch.verdicts) < len(batch.documents):
                continue
            under_way.popleft()
            counts.update(batch.read)
            if batch.journaled:
                progress.resume(len(batch.documents))
            else:
                job.journal.put(batch.key, blob=pack(batch.verdicts))
                progress.advance(len(batch.documents))
            for document, decided, masked in zip(batch.documents, batch.verdicts, batch.masked, strict=True):
                _account(job, document["id"], decided)
                if decided.kept:
                    facts = {name: getattr(decided, name) for name in ("features", "scores", "n_morphemes", "mentions")}
                    filtered.write(document | facts | {"n_masked": masked.total()})
                    counts.update({f"masked_{kind}": n for kind, n in masked.items()})
                    counts["characters_out"] += len(document["text"])
                    counts["morphemes"] += facts["n_morphemes"]
                    counts["mentions"] += len(facts["mentions"])
                else:
                    told = ("reason", "measured", "threshold", "features", "scores")
                    facts = {name: getattr(decided, name) for name in told}
                    rejected.write({"id": document["id"], "source": document["source"], **facts})
    job.ledger.measure(**counts)


def _candidates(job: Job, under_way: deque[Batch], rules: Sequence[Rule], *, measure_all: bool) -> Iterator[Candidate]:
    """Yield the shard's documents by batches, which are left in ``under_way`` until all their verdicts are there."""
    kinds = dict(duplicates_of(job.inputs["duplicates"], job.shard))
    boilerplate = frozenset(_boilerplate(job))
    columns = ["features", "reason", "measured", "threshold"]
    scored = (dict(row["scores"]) for row in read_rows(job.input("scores"))) if job.inputs["scores"] else repeat({})
    limits = [rule for name, limit in job.params["scorers"].items() for rule in ScorerSettings(**limit).rules(name)]
    rows = enumerate(zip(read_rows(job.input("text")), read_rows(job.input("screened"), columns), strict=True))
    while numbered := list(islice(rows, BATCH)):
        documents = [document for _, (document, _) in numbered]
        verdicts = [Verdict(**screened) for _, (_, screened) in numbered]
        for (row, _), verdict, scores in zip(numbered, verdicts, scored, strict=False):
            verdict.features = {name: value for name, value in verdict.features.items() if value is not None}
            compare(verdict, kinds.get(row), rules)
            verdict.weigh(scores, limits)
        read = Counter(characters_in=sum(len(document["text"]) for document in documents))
        if boilerplate:
            read.update(_cut(documents, verdicts, boilerplate, partial(screen, rules=rules, measure_all=measure_all)))
        masked = _mask(documents) if job.params["mask_personal_numbers"] else [Counter[str]() for _ in documents]
        key = job.item_key([document["text"] for document in documents], [asdict(verdict) for verdict in verdicts])
        journaled = key in job.journal
        if journaled:
            verdicts = unpack(job.journal.blob(key))
        under_way.append(Batch(key, documents, masked, read, journaled))
        for document, verdict in zip(documents, verdicts, strict=True):
            yield Candidate(document["text"], verdict, decided=journaled)


def _cut(
    documents: list[dict[str, Any]],
    verdicts: list[Verdict],
    keys: frozenset[int],
    screened: Callable[[str, str], Verdict],
) -> Counter[str]:
    """Cut the lines with these keys out of the texts. Return counts of lines and characters.

    What has no others is rejected; what is left of a document is ``screened`` (text, meta) as a text of its own.
    """
    cut = Counter(boilerplate_lines=0, boilerplate_characters=0)
    for document, verdict in zip(documents, verdicts, strict=True):
        if not verdict.kept:
            continue
        text, lines = without_lines(document["text"], keys)
        cut.update(boilerplate_lines=lines, boilerplate_characters=len(document["text"]) - len(text))
        if lines and not text.strip():
            verdict.reason = ONLY_BOILERPLATE
        elif lines:
            left = screened(text, document["meta"])
            verdict.features = {n: v for n, v in verdict.features.items() if n not in SCREEN_MEASURES} | left.features
            verdict.reason, verdict.measured, verdict.threshold = left.reason, left.measured, left.threshold
        document["text"] = text
    return cut


def _mask(documents: list[dict[str, Any]]) -> list[Counter[str]]:
    """Put placeholders into the texts; return of each document how many there are by kind."""
    counts: list[Counter[str]] = []
    for document in documents:
        document["text"], found = mask(document["text"])
        counts.append(found)
    return counts


def _account(job: Job, document_id: str, verdict: Verdict) -> None:
    if verdict.fault:
        job.ledger.quarantine(document_id, Fault(**verdict.fault))
    elif verdict.reason:
        job.ledger.reject(document_id, verdict.reason)
    else:
        job.ledger.use(document_id)
        job.ledger.give(document_id)


def _boilerplate(job: Job) -> list[int]:
    """Return the keys of the lines to cut out that documents of this shard have; no other decides about it."""
    if not job.inputs["boilerplate"]:
        return []
    known = pq.read_table(job.input("boilerplate"), columns=["line"])["line"]
    here = pq.read_table(job.input("screened"), columns=["lines"])["lines"].combine_chunks().flatten()
    return np.intersect1d(known.to_numpy(), here.to_numpy()).tolist()


if __name__ == "__main__":
    run_job(
        snakemake,
        filter_text,
        Units("document", "document"),
        packages=("kiwipiepy", "kiwipiepy_model", "pyarrow"),
        relevant={
            "duplicates": lambda job: duplicates_of(job.inputs["duplicates"], job.shard),
            "boilerplate": _boilerplate,
        },
    )
