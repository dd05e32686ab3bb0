"""The text wing beside its peers, on documents made from petitions, in one run on one machine.

    python bench/text.py PETITIONS [--documents N] [--slow N] [--runs N] [--only NAME ...]

PETITIONS is a folder of JSON lines with title and content. Every side of a comparison runs in a process of its own, the
sides in turn, run after run; models are loaded before the clock starts. The ratio is taken pair by pair. Rows whose
peer is not installed (bench/requirements.txt) are left out and named. bench/text.md holds a table.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sides import CORES, Result, clock, peak_mb, ratios, run_side

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "resources/models/scripts")]

# Documents

STRETCHES = 8
"""Petitions of which a document has a stretch each."""
LONGEST_STRETCH = 250
"""Characters of it at most, so that no two documents have much in common."""
FAR_APART = 150
"""In a near duplicate one word in so many is changed; MinHash then misses it once in 200,000 times."""
SHORTEST = 200
"""Characters of a petition; shorter ones are left out."""


def some_petitions(petitions: Path, count: int) -> list[str]:
    """Return petitions as they are, of every month."""
    from making.texts import petitions as read

    texts = [one.content for one in read(petitions) if len(one.content) >= SHORTEST]
    return random.Random(0).sample(texts, count)


def make_documents(petitions: Path, count: int) -> list[str]:
    """Return texts as long as petitions, each of stretches of petitions.

    One in twenty is the one before it with a few words changed: a near duplicate. No others are alike, so that what is
    found does not hang on the hashes that were drawn: of pairs that share a third of their shingles, MinHash finds
    some, and others with other hashes.
    """
    from making.texts import petitions as read

    texts = [one.content for one in read(petitions) if len(one.content) >= SHORTEST]
    rng = random.Random(0)
    documents: list[str] = []
    while len(documents) < count:
        words = documents[-1].split(" ") if documents else []
        if len(words) >= FAR_APART and rng.random() < 0.05:
            for _ in range(len(words) // FAR_APART):
                words[rng.randrange(len(words))] = "바뀜"
            documents.append(" ".join(words))
            continue
        documents.append(" ".join(_stretch(rng.choice(texts), rng) for _ in range(STRETCHES)))
    return documents


def _stretch(text: str, rng: random.Random) -> str:
    length = min(len(text) // STRETCHES, LONGEST_STRETCH)
    start = text.find(" ", rng.randrange(len(text) - length)) + 1
    end = text.find(" ", start + length)
    return text[start : end if end > 0 else len(text)]


# Sides of the comparisons: each gets the documents and returns what it measured


def filter_malgeul(documents: Sequence[str], profile: str, threads: int = CORES) -> Result:
    """Screen and judge as the workflow's two rules do, with Kiwi in its own process and one thread a core."""
    from malgeul.text.analyzer_process import ProcessAnalyzer
    from malgeul.text.filtering import Candidate, judge, screen
    from malgeul.text.morphology import MORPHEME_MEASURES
    from malgeul.text.profiles import rules_of

    rules = rules_of(profile, {})
    measures = [rule.measure for rule in rules if rule.measure in MORPHEME_MEASURES]
    result: Result = {}
    with ProcessAnalyzer(threads, measures) as analyzer:
        list(analyzer.analyze(documents[:1]))
        with clock(result):
            screened = (Candidate(text, screen(text, "{}", rules, measure_all=False)) for text in documents)
            result["kept"] = [verdict.kept for verdict in judge(screened, rules, analyzer.analyze)]
    result["peak_mb"] = peak_mb()
    return result


WORKERS = 20
MANY_THREADS = f"filter with {WORKERS} threads"


def filter_many_threads(documents: Sequence[str]) -> Result:
    """What the memory of a job with many threads is measured on."""
    return filter_malgeul(documents, "seed_compat", WORKERS)


def filter_pool(documents: Sequence[str], processes: int) -> Result:
    """The forerunner's way: a Kiwi in every process of a pool, the cheap rules and then the share of proper nouns."""
    from multiprocessing import get_context

    size = max(1, min(2000, len(documents) // (4 * processes)))
    chunks = [documents[at : at + size] for at in range(0, len(documents), size)]
    result: Result = {}
    with get_context("spawn").Pool(processes, _load_kiwi) as pool:
        pool.map(_forerunners_rules, [documents[:1]] * processes, chunksize=1)
        with clock(result):
            result["kept"] = [kept for part in pool.map(_forerunners_rules, chunks, chunksize=1) for kept in part]
        result["process_mb"] = max(pool.map(_own_mb, range(processes), chunksize=1))
    return result


_kiwi: Any = None


def _load_kiwi() -> None:
    global _kiwi
    from kiwipiepy import Kiwi

    _kiwi = Kiwi(num_workers=0)


def _own_mb(_: int) -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _forerunners_rules(documents: Sequence[str]) -> list[bool]:
    return [_forerunner_keeps(text) for text in documents]


def _forerunner_keeps(text: str) -> bool:
    if not 800 <= len(text) <= 2500 or sum(text.count(mark) for mark in ".?!") < 3:
        return False
    filled = [character for character in text if not character.isspace()]
    hangul = sum("가" <= c <= "힣" or "ㄱ" <= c <= "ㆎ" or "\u1100" <= c <= "\u11ff" for c in filled)
    if hangul / len(filled) < 0.40:
        return False
    if sum(not (c.isalnum() or c.isspace()) for c in text) / len(text) > 0.30:
        return False
    tokens = _kiwi.tokenize(text)
    names = sum(token.tag == "NNP" for token in tokens)
    return 0.05 <= names / len(tokens) <= 0.20


def analyze_malgeul(documents: Sequence[str]) -> Result:
    """Kiwi's part of the filter: every document through the process, with stop words, endings and mentions."""
    from malgeul.text.analyzer_process import ProcessAnalyzer

    result: Result = {}
    with ProcessAnalyzer(CORES) as analyzer:
        list(analyzer.analyze(documents[:1]))
        with clock(result):
            result["morphemes"] = sum(analysis.n_morphemes for analysis in analyzer.analyze(documents))
    return result


def analyze_kiwi(documents: Sequence[str]) -> Result:
    """Kiwi's native threads doing nothing else: the physical limit."""
    from kiwipiepy import Kiwi

    kiwi = Kiwi(num_workers=CORES)
    kiwi.tokenize("말글")
    result: Result = {}
    with clock(result):
        result["morphemes"] = sum(len(tokens) for tokens in kiwi.tokenize(iter(documents)))
    return result


def filter_limit(documents: Sequence[str], profile: str) -> Result:
    """Kiwi's native threads doing nothing else, on the documents that no cheaper rule decides."""
    from malgeul.text.filtering import screen
    from malgeul.text.profiles import rules_of

    rules = rules_of(profile, {})
    return analyze_kiwi([text for text in documents if screen(text, "{}", rules, measure_all=False).kept])


def filter_datatrove(documents: Sequence[str]) -> Result:
    """Datatrove's three filters with FineWeb-2's Korean settings, a process a core, nothing read or written."""
    from multiprocessing import get_context

    size = max(1, len(documents) // (8 * CORES))
    chunks = [documents[at : at + size] for at in range(0, len(documents), size)]
    result: Result = {}
    with get_context("spawn").Pool(CORES, _load_datatrove) as pool:
        pool.map(_datatrove_keeps, [documents[:1]] * CORES, chunksize=1)
        with clock(result):
            result["kept"] = [kept for part in pool.map(_datatrove_keeps, chunks, chunksize=1) for kept in part]
    return result


_filters: list[Any] = []


def _load_datatrove() -> None:
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.utils import word_tokenizers

    from malgeul.text.words import STOPWORDS

    word_tokenizers.KiwiTokenizer.__init__.__defaults__ = (None,)  # its "sbg" model is no longer shipped
    top = [(2, 0.282), (3, 0.228), (4, 0.185)]
    repeated = [(5, 0.201), (6, 0.184), (7, 0.168), (8, 0.154), (9, 0.140), (10, 0.127)]
    gopher = {"dup_para_frac": 0, "dup_line_char_frac": 0, "dup_para_char_frac": 0, "dup_line_frac": 0.374}
    _filters[:] = [
        GopherRepetitionFilter(language="kor_Hang", top_n_grams=top, dup_n_grams=repeated, **gopher),
        FineWebQualityFilter(
            language="kor_Hang",
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=0.062,
            new_line_ratio=0.196,
        ),
        GopherQualityFilter(
            language="kor_Hang",
            min_avg_word_length=1,
            max_avg_word_length=6,
            max_non_alpha_words_ratio=0.791,
            stop_words=list(STOPWORDS),
        ),
    ]


def _datatrove_keeps(documents: Sequence[str]) -> list[bool]:
    from datatrove.data import Document

    return [all(_passed(f.filter(Document(text=text, id="x"))) for f in _filters) for text in documents]


def _passed(answer: Any) -> bool:
    return answer is True or answer is None or (isinstance(answer, tuple) and bool(answer[0]))


def duplicates_malgeul(documents: Sequence[str]) -> Result:
    """Signatures of all documents on all cores, then clusters; as screen_text and find_duplicates make them."""
    from multiprocessing import get_context

    import numpy as np

    from malgeul.text.duplicates import merge_clusters

    size = max(1, len(documents) // (8 * CORES))
    chunks = [documents[at : at + size] for at in range(0, len(documents), size)]
    result: Result = {}
    with get_context("spawn").Pool(CORES) as pool:
        pool.map(_sign, [documents[:1]] * CORES, chunksize=1)
        with clock(result):
            table = np.concatenate(pool.map(_sign, chunks, chunksize=1))
            clusters = np.arange(len(documents))
            for band in range(table.shape[1]):
                clusters = merge_clusters(clusters, table[:, band], np.arange(len(documents)))
    result["clusters"] = clusters.tolist()
    return result


def _sign(documents: Sequence[str]) -> Any:
    import numpy as np

    from malgeul.text.signatures import bands

    return np.stack([bands(text) for text in documents])


def duplicates_datatrove(documents: Sequence[str]) -> Result:
    """Datatrove's MinHash on all cores through its files, with words between spaces as ours."""
    import numpy as np
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader

    result: Result = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for part in range(CORES):
            with (folder / "in" / f"{part:02d}.jsonl").open("w", encoding="utf-8") as out:
                for at in range(part, len(documents), CORES):
                    out.write(json.dumps({"id": str(at), "text": documents[at]}, ensure_ascii=False) + "\n")
        config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
        quiet = {"skip_completed": False, "workers": CORES}
        with clock(result):
            signature = MinhashDedupSignature(str(folder / "signatures"), config, language="kor_Hang")
            signature.word_tokenizer = _Spaces()
            signature._hash_func = _HashOfBytes()  # its own gives xxhash a str, which version 4 refuses
            steps = [
                (CORES, [JsonlReader(str(folder / "in")), signature]),
                (14, [MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)]),
                (
                    1,
                    [
                        MinhashDedupCluster(
                            str(folder / "buckets"), str(folder / "clusters"), config=config, save_cluster_id=True
                        )
                    ],
                ),
            ]
            for number, (tasks, pipeline) in enumerate(steps):
                LocalPipelineExecutor(pipeline, tasks=tasks, logging_dir=str(folder / f"log{number}"), **quiet).run()
        clusters = np.arange(len(documents))
        known: dict[int, int] = {}
        pairs = []
        for file in sorted((folder / "clusters").rglob("*.clusters")):
            part = int(file.name.split(".")[0])
            rows = np.frombuffer(file.read_bytes(), "<u4").reshape(-1, 2)
            pairs += [(int(row) * CORES + part, int(cluster)) for row, cluster in rows]
        for at, cluster in sorted(pairs):
            clusters[at] = known.setdefault(cluster, at)
        result["clusters"] = clusters.tolist()
    return result


class _HashOfBytes:
    """Datatrove's hash of a text, over its bytes."""

    def __call__(self, text: str) -> int:
        import xxhash

        return int(xxhash.xxh64_intdigest(text.encode()))


class _Spaces:
    """A word tokenizer for datatrove: what stands between spaces."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


LENGTH = 2048
"""Pieces of a row, as in the forerunner's dataset."""

TOKENIZER = ROOT / "resources/models/tokenizer-ko-demo"


def tokenize_malgeul(documents: Sequence[str]) -> Result:
    """The stage itself: from filtered documents and their selected stretches to Arrow on disk with a ledger."""
    from malgeul.shards.job import set_thread_counts

    set_thread_counts(CORES)
    from collections import Counter

    from malgeul.dataset.samples import ENTITY_CAP, SAMPLES, Choice
    from malgeul.dataset.sequences import stretches_of
    from malgeul.dataset.settings import SelectSettings
    from malgeul.dataset.tokenizer import load_tokenizer
    from malgeul.shards.tables import TableWriter
    from malgeul.text.filtering import FEATURES, FILTERED
    from tokenize_samples import tokenize_samples

    settings = SelectSettings(kind="sequences", packing="document", sequence_length=LENGTH)
    tokenizer = load_tokenizer({"tokenizer": str(TOKENIZER), "revision": None})
    left_out = {"kind", "packing", "sequence_length", "max_entity_freq"}
    capacity = LENGTH - len(tokenizer.before) - len(tokenizer.after)
    choice = Choice(capacity=capacity, **settings.model_dump(exclude=left_out))
    nothing = {"features": dict.fromkeys(field.name for field in FEATURES), "scores": {}, "mentions": []}
    with _results() as results:
        with (
            TableWriter(results / "filtered.parquet", FILTERED) as filtered,
            TableWriter(results / "samples.parquet", SAMPLES) as samples,
        ):
            for number, text in enumerate(documents):
                document = {"id": str(number), "text": text, "source": "web", "meta": "{}"}
                filtered.write({**document, **nothing, "n_morphemes": 0, "n_masked": 0})
                for sample in stretches_of({**document, "mentions": []}, tokenizer, choice, Counter()):
                    samples.write(sample)
        cap = results / "cap.parquet"
        with TableWriter(cap, ENTITY_CAP):
            pass
        inputs = {"filtered": results / "filtered.parquet", "samples": results / "samples.parquet", "entity_cap": cap}
        params = {
            "settings": {"tokenizer": str(TOKENIZER), "revision": None},
            "select": {key: getattr(settings, key) for key in ("kind", "packing", "sequence_length")},
        }
        job = _job(results, "tokenize", ("sample", "row"), inputs, {"tokenized": "tokenized"}, params)
        result: Result = {}
        with clock(result):
            job.run(tokenize_samples)
        result["bytes"] = sum(file.stat().st_size for file in (results / "tokenized").rglob("*.arrow"))
        result["peak_mb"] = peak_mb()
    return result


@contextmanager
def _results() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results" / "bench"
        results.mkdir(parents=True)
        yield results


def _job(
    results: Path,
    stage: str,
    units: tuple[str, str],
    inputs: dict[str, Any],
    outputs: dict[str, str],
    params: dict[str, Any],
    shard: str = "web-0000",
) -> Any:
    """Return a job as Snakemake's script would make it."""
    from malgeul.shards.job import Job
    from malgeul.shards.ledger import Units

    files = {name: value if isinstance(value, list) else [value] for name, value in inputs.items()}
    places = {name: results / place for name, place in outputs.items()}
    places["ledger"] = results / "ledger" / stage / f"{shard}.json"
    return Job(files, places, params, Units(*units), CORES)


def tokenize_alone(documents: Sequence[str]) -> Result:
    """encode_batch_fast on all cores, its answers thrown away: the physical limit."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    tokenizer.encode_batch_fast(list(documents[:10]))
    result: Result = {}
    with clock(result):
        for at in range(0, len(documents), 500):
            tokenizer.encode_batch_fast(documents[at : at + 500])
    return result


def tokenize_map(documents: Sequence[str]) -> Result:
    """datasets.map with a process a core: ids cut to the same length, into its cache."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = AutoTokenizer.from_pretrained(str(TOKENIZER))

    def tokenize(rows: dict[str, list[str]]) -> dict[str, Any]:
        encoded = tokenizer(rows["text"], truncation=True, max_length=LENGTH, return_token_type_ids=False)
        return {"input_ids": encoded["input_ids"]}

    result: Result = {}
    with tempfile.TemporaryDirectory() as folder:
        Dataset.from_dict({"text": list(documents)}).save_to_disk(f"{folder}/in")
        dataset = Dataset.load_from_disk(f"{folder}/in")
        with clock(result):
            made = dataset.map(
                tokenize, batched=True, num_proc=CORES, remove_columns=["text"], cache_file_name=f"{folder}/out.arrow"
            )
        result["bytes"] = sum(Path(file["filename"]).stat().st_size for file in made.cache_files)
    return result


def tokenize_padded(documents: Sequence[str]) -> Result:
    """The forerunner's way: three columns padded to the full length, through lists, saved as a dataset on disk."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(TOKENIZER))
    tokenizer(list(documents[:10]))
    result: Result = {}
    with tempfile.TemporaryDirectory() as folder:
        with clock(result):
            columns: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
            for at in range(0, len(documents), 1000):
                given = {"truncation": True, "max_length": LENGTH, "padding": "max_length"}
                encoded = tokenizer(list(documents[at : at + 1000]), **given)
                columns["input_ids"] += encoded["input_ids"]
                columns["attention_mask"] += encoded["attention_mask"]
                columns["labels"] += [list(ids) for ids in encoded["input_ids"]]
            Dataset.from_dict(columns).save_to_disk(f"{folder}/out")
        result["bytes"] = sum(file.stat().st_size for file in Path(folder, "out").rglob("*.arrow"))
    return result


MERGED_SHARDS = 10


def _write_shards(results: Path, gigabytes: float) -> list[Path]:
    """Write tokenized shards of so many bytes in all, with their ledgers."""
    import numpy as np
    import pyarrow as pa

    from malgeul.dataset.saved import COLUMNS, describe, schema_of

    columns = COLUMNS["sequences"]
    rows = 1000
    ids = pa.array(list(np.random.default_rng(0).integers(0, 8000, (rows, LENGTH), np.int32)), pa.list_(pa.int32()))
    names = pa.array([[str(row)] for row in range(rows)], pa.list_(pa.string()))
    firsts = pa.array([[1]] * rows, pa.list_(pa.int32()))
    batch = pa.RecordBatch.from_arrays([ids, firsts, names, names], schema=schema_of(columns))
    batches = round(gigabytes * 1e9 / MERGED_SHARDS / batch.nbytes)

    def write(job: Any) -> None:
        folder = job.staged("tokenized")
        for split, count in (("train", batches), ("validation", 0), ("test", 0)):
            with pa.ipc.new_stream(str(folder / f"{split}.arrow"), batch.schema) as out:
                for _ in range(count):
                    out.write_batch(batch)
        describe(folder, {split: [f"../{split}.arrow"] for split in ("train", "validation", "test")}, columns)
        job.ledger.measure(train_rows=batches * rows, validation_rows=0, test_rows=0)

    shards = []
    for number in range(MERGED_SHARDS):
        shard = f"web-{number:04d}"
        job = _job(results, "tokenize", ("sample", "row"), {}, {"tokenized": f"tokenized/{shard}"}, {}, shard)
        job.run(write)
        shards.append(job.outputs["tokenized"])
    return shards


def merge_malgeul(gigabytes: float) -> Result:
    """The stage itself, over shards that were just written."""
    from merge_dataset import merge_dataset

    with _results() as results:
        shards = _write_shards(results, gigabytes)
        inputs = {"tokenized": shards, "ledger": sorted((results / "ledger/tokenize").glob("*.json")), "history": []}
        params = {"settings": {"parquet": False}, "kind": "sequences", "made_with": {}, "sources": {}, "licences": {}}
        job = _job(results, "merge", ("row", "row"), inputs, {"dataset": "dataset"}, params)
        result: Result = {}
        with clock(result):
            job.run(merge_dataset)
        from datasets import load_from_disk

        result["rows"] = load_from_disk(str(results / "dataset"))["train"].num_rows
    return result


def merge_datasets(gigabytes: float) -> Result:
    """concatenate_datasets and save_to_disk over the same shards."""
    from datasets import concatenate_datasets, load_from_disk

    with _results() as results:
        shards = [load_from_disk(str(shard))["train"] for shard in _write_shards(results, gigabytes)]
        result: Result = {}
        with clock(result):
            merged = concatenate_datasets(shards)
            merged.save_to_disk(str(results / "merged"))
        result["rows"] = merged.num_rows
    return result


# The comparisons


SIDES: dict[str, Callable[[Any], Result]] = {
    "filter, forerunner's rules: malgeul": lambda d: filter_malgeul(d, "seed_compat"),
    f"filter, forerunner's rules: pool of {2 * CORES}": lambda d: filter_pool(d, 2 * CORES),
    f"filter, forerunner's rules: pool of {CORES}": lambda d: filter_pool(d, CORES),
    "Kiwi's part: malgeul": analyze_malgeul,
    "Kiwi's part: Kiwi alone": analyze_kiwi,
    "FineWeb-2's rules: malgeul": lambda d: filter_malgeul(d, "fineweb2_ko"),
    "FineWeb-2's rules: datatrove": filter_datatrove,
    "tokenize: malgeul": tokenize_malgeul,
    "tokenize: encode_batch_fast alone": tokenize_alone,
    f"tokenize: datasets.map, {CORES} processes": tokenize_map,
    "tokenize: padded lists": tokenize_padded,
    "near duplicates: malgeul": duplicates_malgeul,
    "near duplicates: datatrove": duplicates_datatrove,
    "merge: malgeul": merge_malgeul,
    "merge: concatenate_datasets and save_to_disk": merge_datasets,
}
"""Every side by name; those of a merge get gigabytes in the place of documents."""

LIMITS: dict[str, Callable[[Any], Result]] = {
    "filter, forerunner's rules: limit": lambda d: filter_limit(d, "seed_compat"),
    "FineWeb-2's rules: limit": lambda d: filter_limit(d, "fineweb2_ko"),
}
"""What malgeul cannot be faster than, where a library does the work: that library doing nothing else."""

SLOW = ("filter", "Kiwi", "FineWeb")
"""Comparisons that are made on fewer documents, petitions as they are: how many a rule rejects decides the time."""

TO_REACH = {
    f"filter, forerunner's rules: pool of {2 * CORES}": 1.6,
    f"filter, forerunner's rules: pool of {CORES}": 1.2,
    "Kiwi's part: Kiwi alone": 0.93,
    "FineWeb-2's rules: datatrove": 3.0,
    "tokenize: encode_batch_fast alone": 0.9,
    f"tokenize: datasets.map, {CORES} processes": 1.5,
    "tokenize: padded lists": 2.0,
    "near duplicates: datatrove": 1.0,
    "merge: concatenate_datasets and save_to_disk": 100.0,
}
"""The ratio of malgeul's documents a second to the peer's that is asked for."""


def compare(name: str, documents: Path, runs: int) -> Iterator[str]:
    """Yield the rows of one comparison; both sides run in turn."""
    own, *peers = [side for side in SIDES if side.startswith(f"{name}: ")]
    for peer in peers:
        sides = [own, peer, *(side for side in LIMITS if side.startswith(f"{name}: "))]
        ours, theirs, *limits = zip(
            *[[run_side(__file__, side, documents) for side in sides] for _ in range(runs)], strict=True
        )
        limit = [b["seconds"] / a["seconds"] for limit in limits for a, b in zip(limit, theirs, strict=True)]
        speeds = [[result["documents"] / result["seconds"] for result in side] for side in (ours, theirs)]
        yield (
            f"| {name} | {peer.split(': ')[1]} | {_median(speeds[0])} | {_median(speeds[1])} |"
            f" {ratios(ours, theirs)} | ≥ {TO_REACH[peer]} |"
            f" {f'{statistics.median(limit):.2f}' if limit else ''} | {_agreement(ours[0], theirs[0])} |"
        )


def scale(documents: Sequence[str]) -> str:
    """Return the row of one size of the whole wing, run by Snakemake as a user would."""
    import yaml

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "web.jsonl").open("w", encoding="utf-8") as out:
            for number, text in enumerate(documents):
                out.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n")
        config = {"run": "bench", "text": {"sources": [{"path": "web.jsonl", "format": "jsonl"}]}}
        config |= {"select": {"kind": "sequences"}, "embed": {"inputs": []}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", str(CORES)]
        started = time.perf_counter()
        subprocess.run([*command, "--configfile", "config.yaml"], cwd=folder, check=True, capture_output=True)
        wall = time.perf_counter() - started
        results = folder / "results/bench"
        ledgers = [json.loads(file.read_text()) for file in sorted((results / "ledger").glob("*/*.json"))]
        samples = [json.loads(file.read_text()) for file in (results / "benchmarks").glob("*/*.jsonl")]
        peaks = [sample["max_rss"] for sample in samples if sample["max_rss"] != "NA"]
        jobs = sum(ledger["seconds"] for ledger in ledgers)
        rows = sum(ledger["out"] for ledger in ledgers if ledger["stage"] == "merge")
        ms = 1000 / len(documents)
        return f"| {len(documents):,} | {wall * ms:.1f} | {jobs * ms:.1f} | {max(peaks):,.0f} MB | {rows:,} |"


def _median(values: Iterable[float]) -> str:
    return f"{statistics.median(values):,.0f}"


def _agreement(ours: Result, theirs: Result) -> str:
    if "kept" in ours:
        same = sum(a == b for a, b in zip(ours["kept"], theirs["kept"], strict=True))
        memory = ""
        if "process_mb" in theirs:
            memory = f"; {ours['peak_mb']:,.0f} MB, a process of the peer {theirs['process_mb']:,.0f} MB"
        return f"{same / len(ours['kept']):.2%} of verdicts equal, {sum(ours['kept'])} kept{memory}"
    if "clusters" in ours:
        same = sum(a == b for a, b in zip(ours["clusters"], theirs["clusters"], strict=True))
        repeated = [sum(at != first for at, first in enumerate(side["clusters"])) for side in (ours, theirs)]
        share = same / len(ours["clusters"])
        return f"{share:.2%} of documents in the same cluster; {repeated[0]} and {repeated[1]} duplicates"
    if "rows" in ours:
        return f"{ours['rows']:,} and {theirs['rows']:,} rows"
    if "bytes" in ours:
        there = f", {theirs['bytes'] / ours['documents']:,.0f} of the peer's" if "bytes" in theirs else ""
        return f"{ours['bytes'] / ours['documents']:,.0f} bytes a document{there}; peak {ours['peak_mb']:,.0f} MB"
    return f"{ours['morphemes']:,} and {theirs['morphemes']:,} morphemes"


def main() -> None:
    """Measure and print, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("petitions", type=Path)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--slow", type=int, default=2_000, help="documents for the comparisons in which Kiwi works")
    parser.add_argument("--gigabytes", type=float, default=5.0, help="what is merged")
    parser.add_argument("--scale", type=int, nargs="*", default=[1_000, 10_000, 30_000], help="sizes of the whole wing")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="beginnings of names")
    parser.add_argument("--side", choices=[*SIDES, *LIMITS, MANY_THREADS], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        documents = json.loads(given.petitions.read_text(encoding="utf-8"))
        result = {**SIDES, **LIMITS, MANY_THREADS: filter_many_threads}[given.side](documents)
        print(json.dumps({"documents": len(documents) if isinstance(documents, list) else result["rows"], **result}))
        return
    try:
        peer = f"datatrove {version('datatrove')}"
    except PackageNotFoundError:
        peer = "datatrove is not installed: its rows are left out"
        for side in [side for side in SIDES if side.endswith("datatrove")]:
            del SIDES[side]
    print(f"{platform.machine()}, {CORES} cores; kiwipiepy {version('kiwipiepy')}; {peer}\n")
    print("| what | beside | malgeul, documents/s | peer, documents/s | ratio (spread) | to reach | limit | results |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys(side.split(": ")[0] for side in SIDES):
            if given.only and not name.startswith(tuple(given.only)):
                continue
            slow = name.startswith(SLOW)
            make, count = (some_petitions, given.slow) if slow else (make_documents, given.documents)
            file = Path(folder) / f"{make.__name__}.json"
            if name == "merge":
                file = Path(folder) / "gigabytes.json"
                file.write_text(json.dumps(given.gigabytes))
            elif not file.exists():
                file.write_text(json.dumps(make(given.petitions, count)), encoding="utf-8")
            for row in compare(name, file, given.runs):
                print(row, flush=True)
        if not given.only:
            file = Path(folder) / f"{some_petitions.__name__}.json"
            peak = run_side(__file__, MANY_THREADS, file)["peak_mb"]
            process = run_side(__file__, f"filter, forerunner's rules: pool of {CORES}", file)["process_mb"]
            print(
                f"\nFilter with {WORKERS} workers: {peak:,.0f} MB measured; the pool {WORKERS} x {process:,.0f} MB,"
                f" {WORKERS * process / peak:.0f} times as much.\n"
            )
    if given.scale and not given.only:
        print("\n| documents | ms a document, wall | ms a document, in jobs | peak memory of a job | rows |")
        print("|---|---|---|---|---|")
        for count in given.scale:
            print(scale(make_documents(given.petitions, count)), flush=True)


if __name__ == "__main__":
    main()
