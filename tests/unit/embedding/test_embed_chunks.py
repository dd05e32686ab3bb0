"""The rule embed_chunks: a vector per chunk, whatever ends the job, and no text computed twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import embed_chunks as script
from malgeul import ROOT
from malgeul.embedding.encoder import Encoder
from malgeul.embedding.settings import EmbedSettings
from malgeul.embedding.tokens import load_text_tokenizer
from malgeul.embedding.vectors import read_vectors
from malgeul.models.devices import Device
from malgeul.shards import tables
from malgeul.shards.files import write_json
from malgeul.shards.job import Job
from malgeul.shards.journal import Journal
from malgeul.shards.ledger import Ledger, Tally, Units
from malgeul.shards.stopping import TERMINATED
from malgeul.shards.tables import CHUNKS, TableWriter
from unit.embedding.conftest import WHOLE
from unit.embedding.models import BUNDLED, make_model

TEXTS = [f"{number}번째 글이다. " + "말과 글을 함께 적는다. " * (number * 7 % 23) for number in range(60)]
NAME = "docs-0000"


def run_killed_at(count, results, batches, monkeypatch):
    """Run until so many batches were computed, those by which the job measures among them."""
    encode = Encoder.encode

    def dying(self, batch):
        if len(batches) == count:
            raise KeyboardInterrupt
        return encode(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode", dying)
        with pytest.raises(KeyboardInterrupt):
            run(results)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Sixty chunks in three row groups; three of them have one text."""
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 24)
    results = tmp_path / "results"
    write_chunks(results, [*TEXTS[:50], TEXTS[3], *TEXTS[50:], TEXTS[3]])
    return results


def write_chunks(results, texts, model=BUNDLED, shard=NAME):
    count = load_text_tokenizer({"model": str(model), "revision": None, "prompt": None}).count
    file = results / f"chunks/{shard}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    ledger = Ledger("chunk", shard, Units("document", "chunk"))
    with TableWriter(file, CHUNKS) as out:
        for k, text in enumerate(texts):
            row = {"chunk_id": f"db/{k}#0", "document_id": str(k), "source": "db", "index": 0, "start": 0}
            out.write({**row, "end": len(text), "text": text, "n_tokens": count(text), **WHOLE})
            ledger.give(row["chunk_id"])
    stat = file.stat()
    proof = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino, "sha256": str(stat.st_mtime_ns)}
    ledger.outputs = {f"chunks/{shard}.parquet": proof}
    write_json(results / f"ledger/chunk/{shard}.json", ledger.to_json())


def run(results, model=BUNDLED, shard=NAME, **settings):
    """Run the job; return its ids, its vectors and its ledger."""
    chosen = EmbedSettings(model=str(model), **{"batch_tokens": 256, **settings}).model_dump()
    job = Job(
        inputs={"chunks": [results / f"chunks/{shard}.parquet"], "ledger": [results / f"ledger/chunk/{shard}.json"]},
        outputs={
            "embeddings": results / f"embeddings/{shard}.parquet",
            "ledger": results / f"ledger/embed/{shard}.json",
        },
        params={"settings": chosen, "handling": EmbedSettings.HANDLING},
        units=Units("chunk", "vector"),
        identity={"model": "demo", "digest": "0"},
    )
    try:
        job.run(script.embed_chunks)
    finally:
        job.journal.close()
    groups = list(read_vectors(results / f"embeddings/{shard}.parquet"))
    ids = [chunk_id for of_group, _ in groups for chunk_id in of_group]
    vectors = [vectors for _, vectors in groups]
    return ids, np.concatenate(vectors) if vectors else None, job.ledger


def texts_of(results):
    return pq.read_table(results / f"chunks/{NAME}.parquet")["text"].to_pylist()


@pytest.fixture
def batches(monkeypatch):
    """How many texts every batch had; the first two have measured what fits."""
    sizes = []
    encode = Encoder.encode

    def counted(self, batch):
        sizes.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(Encoder, "encode", counted)
    return sizes


def test_every_chunk_has_the_vector_of_its_text_in_the_order_of_the_shard(results):
    ids, vectors, ledger = run(results)
    texts = texts_of(results)
    assert ids == [f"db/{k}#0" for k in range(62)]
    expected = Encoder(BUNDLED, Device("cpu", "x"), 1).encode_texts(texts)
    assert vectors.dtype == np.float32
    assert (vectors * expected).sum(axis=1).min() >= 0.99999
    assert ledger.imbalance() is None
    assert ledger.given == Tally.of(ids) == ledger.used
    assert ledger.device is not None
    facts = ledger.measured
    assert (facts["dimension"], facts["distinct_texts"], facts["truncated_tokens"]) == (256, 60, 0)
    assert (facts["padding_share"], facts["packed"], facts["precision"]) == (0.0, True, "float32")
    assert facts["batch_tokens"] == 256
    assert facts["load"]["bytes"] == (BUNDLED / "model.safetensors").stat().st_size
    assert facts["load_seconds"] > 0


def test_equal_texts_are_computed_once(results, batches):
    _, vectors, _ = run(results)
    assert sum(batches) == 60 + 2
    assert np.array_equal(vectors[3], vectors[50])
    assert np.array_equal(vectors[3], vectors[61])


def test_equal_texts_of_other_shards_are_not_computed_again(results, batches):
    _, there, _ = run(results)
    batches.clear()
    write_chunks(results, [*TEXTS[30:], "새 글 하나", TEXTS[3], "새 글 둘"], shard="web-0001")
    ids, here, ledger = run(results, shard="web-0001")
    assert sum(batches) == 2 + 2
    assert len(ids) == 33
    assert (ledger.reused, ledger.taken.n, ledger.given) == (31, 33, Tally.of(ids))
    assert ledger.imbalance() is None
    of_text = dict(zip(texts_of(results), there, strict=True))
    assert np.array_equal(here[:30], [of_text[text] for text in TEXTS[30:]])
    assert np.array_equal(here[31], of_text[TEXTS[3]])
    expected = Encoder(BUNDLED, Device("cpu", "x"), 1).encode_texts(["새 글 하나", "새 글 둘"])
    assert (here[[30, 32]] * expected).sum(axis=1).min() >= 0.99999


@pytest.mark.parametrize("order", [("docs-0000", "docs-0001"), ("docs-0001", "docs-0000")])
def test_a_shard_that_splits_computes_nothing_again_in_any_order_of_its_halves(results, monkeypatch, order):
    _, before, _ = run(results)
    texts = texts_of(results)
    monkeypatch.setattr(Encoder, "__init__", lambda *_: pytest.fail("a model was loaded"))
    for number, shard in enumerate(("docs-0000", "docs-0001")):
        write_chunks(results, texts[number::2], shard=shard)
    found = {shard: run(results, shard=shard) for shard in order}
    for number, shard in enumerate(("docs-0000", "docs-0001")):
        _, vectors, ledger = found[shard]
        assert np.array_equal(vectors, before[number::2])
        assert ledger.reused == ledger.taken.n == 31


def test_vectors_that_somebody_altered_are_computed_again(results, batches):
    _, expected, _ = run(results)
    batches.clear()
    file = results / f"embeddings/{NAME}.parquet"  # what is kept is the same file by another name
    with file.open("r+b") as out:
        out.seek(file.stat().st_size // 2)
        out.write(b"malgeul")
    _, found, ledger = run(results, max_truncated_share=0.5)
    assert ledger.reused == 0
    assert sum(batches) == 60 + 2
    assert np.array_equal(found, expected)


MEANWHILE = {
    "nothing": lambda _: None,
    "what was found is removed": lambda results: shutil.rmtree(results / "kept"),
    "another shard finishes all texts": lambda results: run(results, shard="late-0000"),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE.keys())
def test_what_other_shards_do_until_a_killed_job_goes_on_changes_no_batch_of_it(
    results, batches, monkeypatch, tmp_path, meanwhile
):
    write_chunks(results, TEXTS[::4], shard="early-0000")
    write_chunks(results, TEXTS, shard="late-0000")
    run(results, shard="early-0000")
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(results, undisturbed)
    batches.clear()
    run(undisturbed)
    whole = batches[2:]
    batches.clear()
    run_killed_at(2 + 3, results, batches, monkeypatch)
    assert batches[2:] == whole[:3]
    meanwhile(results)
    batches.clear()
    _, _, ledger = run(results)
    assert batches == whole[3:]
    assert ledger.reused >= 15 + sum(whole[:3])
    written = [place / f"embeddings/{NAME}.parquet" for place in (results, undisturbed)]
    assert written[0].read_bytes() == written[1].read_bytes()


def test_a_job_killed_while_it_looks_for_vectors_looks_again(results, monkeypatch):
    _, expected, _ = run(results)
    put = Journal.put

    def dying(self, key, *args):
        if key.endswith("/1"):
            raise KeyboardInterrupt
        put(self, key, *args)

    monkeypatch.setattr(Journal, "put", dying)
    with pytest.raises(KeyboardInterrupt):
        run(results, max_truncated_share=0.5)
    monkeypatch.setattr(Journal, "put", put)
    monkeypatch.setattr(Encoder, "__init__", lambda *_: pytest.fail("a model was loaded"))
    _, found, ledger = run(results, max_truncated_share=0.5)
    assert np.array_equal(found, expected)
    assert ledger.reused == 62


def test_a_padded_model_has_its_padding_measured(results, tmp_path):
    model = make_model(tmp_path / "model", "mpnet", "mean_tokens")
    write_chunks(results, [text[:200] for text in TEXTS], model)
    _, vectors, ledger = run(results, model, max_truncated_share=1)
    expected = Encoder(model, Device("cpu", "x"), 1).encode_texts(texts_of(results))
    assert (vectors * expected).sum(axis=1).min() >= 0.99999
    assert ledger.measured["packed"] is False
    assert 0 < ledger.measured["padding_share"] < 0.2


@pytest.mark.parametrize("failing", range(1, 11))
def test_memory_that_runs_out_in_any_batch_changes_nothing(results, monkeypatch, failing):
    _, expected, _ = run(results, batch_tokens=700)
    calls = 0
    encode = Encoder._encode

    def limited(self, batch):
        nonlocal calls
        calls += 1
        if calls == failing:
            raise torch.OutOfMemoryError
        return encode(self, batch)

    monkeypatch.setattr(Encoder, "_encode", limited)
    _, found, ledger = run(results, batch_tokens=700, parity=0.9)  # another setting: nothing is taken again
    assert calls >= failing
    assert np.abs(found - expected).max() < 1e-6
    assert not ledger.quarantined


def test_a_text_that_does_not_fit_alone_is_quarantined_and_the_others_are_not(results, monkeypatch):
    encode = Encoder._encode

    def limited(self, batch):
        if any(len(ids) > 150 for ids in batch):
            raise torch.OutOfMemoryError
        return encode(self, batch)

    _, expected, _ = run(results)
    monkeypatch.setattr(Encoder, "_encode", limited)
    ids, found, ledger = run(results, parity=0.9)
    tokens = pq.read_table(results / f"chunks/{NAME}.parquet")["n_tokens"].to_pylist()
    large = {f"db/{k}#0" for k, n in enumerate(tokens) if n > 150}
    assert 0 < len(large) < 10
    assert {fault["item"] for fault in ledger.quarantined} == large
    assert {fault["class"] for fault in ledger.quarantined} == {"OUT_OF_MEMORY"}
    assert ids == [f"db/{k}#0" for k in range(62) if f"db/{k}#0" not in large]
    kept = [k for k in range(62) if f"db/{k}#0" not in large]
    assert np.abs(found - expected[kept]).max() < 1e-6
    assert ledger.imbalance() is None


def test_vectors_that_are_no_numbers_fail_the_shard_and_are_not_kept(results, batches, monkeypatch):
    encode = Encoder._encode

    def overflowing(self, batch):
        return [
            vector * (np.nan if len(ids) > 150 else 1) for ids, vector in zip(batch, encode(self, batch), strict=True)
        ]

    with monkeypatch.context() as in_half_precision:
        in_half_precision.setattr(Encoder, "_encode", overflowing)
        with pytest.raises(ValueError, match=r"no numbers for \d+ of \d+ texts in float32; set embed\.precision"):
            run(results)
    assert not (results / f"embeddings/{NAME}.parquet").exists()
    _, found, _ = run(results)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("done", range(0, 24, 4))
def test_a_killed_job_goes_on_and_computes_at_most_one_batch_again(results, batches, monkeypatch, done):
    _, expected, _ = run(results)
    everything = sum(batches)
    written = (results / f"embeddings/{NAME}.parquet").read_bytes()
    shutil.rmtree(results / "kept")
    batches.clear()
    run_killed_at(done + 2, results, batches, monkeypatch)
    _, found, ledger = run(results)
    assert sum(batches) <= everything + (done == 0) * 2  # what fits is measured again if nothing was recorded
    assert np.array_equal(found, expected)
    assert (results / f"embeddings/{NAME}.parquet").read_bytes() == written
    assert (ledger.reused > 0) == (done > 0)


WAITING = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from malgeul.embedding.encoder import Encoder
from unit.embedding.test_embed_chunks import run
encode = Encoder.encode
def waiting(self, batch):
    print(len(batch), flush=True)
    sys.stdin.readline()
    return encode(self, batch)
Encoder.encode = waiting
run(Path(sys.argv[1]))
"""


def test_sigterm_finishes_the_batch_and_the_next_run_goes_on_there(results, batches, tmp_path):
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(results, undisturbed)
    run(undisturbed)
    everything = batches[2:]
    batches.clear()
    code = WAITING.format(paths=[str(ROOT / "tests"), str(ROOT / "scripts")])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    job = subprocess.Popen([sys.executable, "-c", code, str(results)], **pipes, text=True, bufsize=1)
    computed = []
    for _ in range(3):  # what fits is measured by two
        computed.append(int(job.stdout.readline()))
        job.stdin.write("\n")
    computed.append(int(job.stdout.readline()))
    job.send_signal(signal.SIGTERM)
    rest, _ = job.communicate("\n")
    assert (job.returncode, rest) == (TERMINATED, "")
    assert computed[2:] == everything[:2]
    assert not (results / f"embeddings/{NAME}.parquet").exists()
    assert not (results / f"ledger/embed/{NAME}.json").exists()
    _, _, ledger = run(results)
    assert batches == everything[2:]
    assert ledger.reused >= sum(everything[:2])
    written = [place / f"embeddings/{NAME}.parquet" for place in (results, undisturbed)]
    assert written[0].read_bytes() == written[1].read_bytes()


def test_one_changed_text_is_the_only_one_that_is_computed(results, batches):
    _, first, _ = run(results)
    batches.clear()
    texts = texts_of(results)
    write_chunks(results, ["처음에 온 글", *texts[:30], "바뀐 글", *texts[31:]])
    _, found, ledger = run(results)
    assert sum(batches) == 2 + 2
    assert (ledger.reused, ledger.taken.n) == (61, 63)
    assert np.array_equal(found[[1, 40, 62]], first[[0, 39, 61]])
    assert np.abs(found[31] - first[30]).max() > 0.01
    assert ledger.imbalance() is None


def test_no_model_is_loaded_when_nothing_is_new(results, monkeypatch):
    _, first, _ = run(results)
    write_chunks(results, texts_of(results)[5:])
    monkeypatch.setattr(Encoder, "__init__", lambda *_: pytest.fail("a model was loaded"))
    _, found, ledger = run(results)
    assert np.array_equal(found, first[5:])
    assert ledger.reused == 57


@pytest.mark.parametrize("changed", [{"storage": "float16"}, {"dimensions": 128}, {"prompt": "글: "}])
def test_another_setting_of_the_vectors_computes_all_again(results, batches, changed):
    run(results)
    batches.clear()
    assert run(results, **changed)[2].reused == 0
    assert sum(batches) > 60


@pytest.mark.parametrize("changed", [{"max_truncated_share": 0.5}, {"batch_tokens": 128}, {"revision": "main"}])
def test_another_way_to_the_same_vectors_computes_nothing_again_and_names_no_other_version(results, batches, changed):
    before = run(results)[2]
    batches.clear()
    after = run(results, **changed)[2]
    assert (after.reused, batches) == (62, [])
    assert after.key != before.key, "the shard was looked at again"
    assert after.content == before.content


def test_tokens_are_those_that_were_computed(results):
    first = run(results)[2].measured
    tokens = dict(
        zip(texts_of(results), pq.read_table(results / f"chunks/{NAME}.parquet")["n_tokens"].to_pylist(), strict=True)
    )
    assert first["tokens"] == sum(tokens.values()) < first["tokens_in"]
    write_chunks(results, texts_of(results)[1:])
    second = run(results)[2].measured
    assert (second["tokens"], second["tokens_in"]) == (0, first["tokens_in"] - tokens[TEXTS[0]])


def test_texts_that_would_be_cut_fail_the_shard_and_say_what_to_change(results, batches):
    write_chunks(results, [*TEXTS, "말과 글을 함께 적는다. " * 200])
    with pytest.raises(ValueError, match=r"takes 512 of a text; embed.max_truncated_share allows 1.0%. Cut smaller"):
        run(results)
    assert batches == []
    _, vectors, ledger = run(results, max_truncated_share=0.5)
    assert len(vectors) == 61
    tokens = pq.read_table(results / f"chunks/{NAME}.parquet")["n_tokens"].to_numpy()
    assert ledger.measured["truncated_tokens"] == tokens.max() - 512
    assert ledger.measured["tokens_in"] == tokens.sum()
    assert ledger.measured["tokens"] == tokens.sum() - (tokens.max() - 512)


def test_a_stray_long_text_is_cut_and_counted(results):
    write_chunks(results, [*TEXTS * 10, "말과 글을 함께 적는다. " * 80])
    _, _, ledger = run(results)
    assert 0 < ledger.measured["truncated_tokens"] < 100


def test_shortened_vectors_have_unit_length_again(results):
    _, whole, _ = run(results)
    _, short, ledger = run(results, dimensions=64)
    assert short.shape == (62, 64)
    assert np.allclose(np.linalg.norm(short, axis=1), 1, atol=1e-5)
    assert np.allclose(short, whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True), atol=1e-6)
    assert ledger.measured["dimension"] == 64


def test_more_dimensions_than_there_are_are_refused(results):
    with pytest.raises(ValueError, match=r"embed\.dimensions is 300, but the model's vectors have 256"):
        run(results, dimensions=300)


@pytest.mark.parametrize(("storage", "least"), [("float16", 0.999999), ("int8", 0.9999)])
def test_smaller_storage_is_read_back_near_to_what_it_was(results, storage, least):
    _, whole, _ = run(results)
    size = (results / f"embeddings/{NAME}.parquet").stat().st_size
    _, small, _ = run(results, storage=storage)
    assert small.dtype == np.float32
    cosines = (whole * small).sum(axis=1) / np.linalg.norm(small, axis=1)
    assert cosines.min() >= least
    assert (results / f"embeddings/{NAME}.parquet").stat().st_size < size * 0.75
    _, again, ledger = run(results, storage=storage, max_truncated_share=0.5)
    assert ledger.reused == 62
    assert np.array_equal(again, small)


def test_the_fastest_precision_at_parity_is_chosen_by_measurement(results):
    _, _, ledger = run(results, precision="fastest", parity=0.999)
    trials = ledger.measured["trials"]
    assert {"float32", "int8"} <= set(trials)
    assert trials["float32"]["cosine"] == pytest.approx(1, abs=1e-6)
    fitting = [name for name, trial in trials.items() if trial["cosine"] >= 0.999]
    assert ledger.measured["precision"] == min(fitting, key=lambda name: trials[name]["seconds"])


def test_only_float32_is_at_parity_with_itself(results):
    assert run(results, precision="fastest", parity=1.0)[2].measured["precision"] == "float32"


def test_a_load_that_fails_once_is_tried_again(results, monkeypatch):
    init, tries = Encoder.__init__, []

    def failing(self, *arguments):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("the driver is not ready")
        init(self, *arguments)

    monkeypatch.setattr(Encoder, "__init__", failing)
    assert len(run(results)[1]) == 62
    assert len(tries) == 2


def test_an_empty_shard_has_an_empty_table_and_loads_no_model(results, monkeypatch):
    write_chunks(results, [])
    monkeypatch.setattr(Encoder, "__init__", lambda *_: pytest.fail("a model was loaded"))
    ids, vectors, ledger = run(results)
    assert (ids, vectors, ledger.taken.n) == ([], None, 0)
    assert pq.read_schema(results / f"embeddings/{NAME}.parquet").field("vector").type.list_size == 256


MEMORY = """
import sys
sys.path[:0] = [{scripts!r}, {tests!r}]
from pathlib import Path
import numpy as np
import resource
import embed_chunks as script
from unit.embedding import test_embed_chunks as tests

class Constant:
    packs = True
    def __init__(self, *_): pass
    def tokenize(self, texts): return [[1, 2, 3] for _ in texts], 0
    def encode(self, batch): return [np.ones(1024, np.float32) for _ in batch]
    def at_once(self, most): return most
    def parts_of(self, lengths): return [range(len(lengths))]

script.Encoder, script.dimension_of = Constant, lambda *_: 1024
class Counter:
    def count(self, text): return 3

tests.load_text_tokenizer = lambda _: Counter()
results = Path(sys.argv[1])
tests.write_chunks(results, (f"{{k}}번째 글 " + "글" * 300 for k in range(int(sys.argv[2]))))
tests.read_vectors = lambda _: []
tests.run(results)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_chunks(tmp_path):
    code = MEMORY.format(scripts=str(ROOT / "scripts"), tests=str(ROOT / "tests"))
    peaks = []
    for n in (8_000, 32_000):
        command = [sys.executable, "-c", code, str(tmp_path / str(n)), str(n)]
        finished = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(finished.stdout.splitlines()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 40  # 24,000 more vectors are 98 MB, their texts 22 MB
