"""Embed the chunks of a shard: a row group at a time, batched by tokens, every finished batch recorded at once."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from malgeul.embedding.batches import read_ahead
from malgeul.embedding.encoder import Encoder, dimension_of
from malgeul.embedding.measuring import fastest, sample_of, tokens_that_fit, try_precisions
from malgeul.embedding.recipe import Recipe, read_recipe
from malgeul.embedding.settings import EmbedSettings
from malgeul.embedding.vectors import dimension_kept, known_vectors, shortened, stored, stored_as, to_table
from malgeul.models.devices import Device, claimed_device
from malgeul.models.loading import folder_of, identity, load_once_more, measured_load
from malgeul.models.memory import DoesNotFit, plan_batches
from malgeul.models.precision import candidate_precisions, precision_for
from malgeul.models.profiling import profiled
from malgeul.models.sampling import sampled
from malgeul.models.trials import tried_once
from malgeul.shards.faults import Fault
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.stopping import whole_batch
from malgeul.shards.tables import KEY_BYTES, TableWriter, count_rows, embeddings_schema

if TYPE_CHECKING:
    from snakemake.script import snakemake

AHEAD = 2
"""Batches that are read and tokenized while one is computed."""


@dataclass(frozen=True)
class Rows:
    """A row group of chunks; ``keys`` tell all that their vectors depend on, ``tokens`` are those the model gets."""

    chunk_ids: list[str]
    texts: list[str]
    tokens: list[int]
    keys: list[bytes]


@dataclass(frozen=True)
class Batch:
    """Texts that are computed together, of so many chunks; ``ids`` are their tokens, None where the journal has them.

    ``name`` is what the journal knows their vectors by.
    """

    keys: list[bytes]
    name: str
    chunks: int
    ids: list[list[int]] | None


def embed_chunks(job: Job) -> None:
    """Write a vector for every chunk in the order of the shard; equal texts are computed once.

    Vectors of texts that any shard has finished, in this run or before, are taken again; of jobs that run at the same
    moment each may compute a text. They were computed in other batches, so that they may differ from fresh ones in
    their last bits, and in int8 by about as much as int8 does from float32.
    """
    settings = EmbedSettings.model_validate(job.params["settings"])
    folder = folder_of(settings.model, settings.revision)
    recipe = read_recipe(folder, settings.prompt)
    started = time.monotonic()
    _measure_lengths(job, settings, recipe.longest)
    dimension = dimension_kept(dimension_of(folder, recipe), settings.dimensions)
    shard = Shard(job, settings, recipe, stored_as(settings.storage, dimension))
    schema = embeddings_schema(dimension, settings.storage)
    with (
        TableWriter(job.staged("embeddings"), schema) as out,
        job.progress(count_rows(job.input("chunks")), "chunks") as progress,
        ExitStack() as stack,
        profiled(job) as profile,
    ):
        if shard.take_known():
            device = stack.enter_context(claimed_device())
            stack.enter_context(sampled(job, device))
            shard.load(folder, device)
        counted = 0
        for thing in read_ahead(shard.work(), AHEAD):
            if isinstance(thing, Rows):
                out.write_group(shard.finished(thing))
                progress.resume(len(thing.keys) - counted)  # vectors that are known without a batch of this group
                counted = 0
                continue
            counted += thing.chunks
            if thing.ids is None:
                shard.recall(thing)
                progress.resume(thing.chunks)
            else:
                with whole_batch(), profile.batch():
                    shard.compute(thing)
                progress.advance(thing.chunks)
    job.keep_for_all("embeddings")
    job.ledger.measure(**shard.figures(), dimension=dimension, seconds_of_work=round(time.monotonic() - started, 3))


def _measure_lengths(job: Job, settings: EmbedSettings, longest: int) -> None:
    """Count the tokens of a shard and those over what the model takes; raises ValueError for too many of them."""
    total = cut = 0
    with pq.ParquetFile(job.input("chunks")) as file:
        for part in file.iter_batches(columns=["n_tokens"]):
            tokens = part["n_tokens"].to_numpy()
            total += int(tokens.sum())
            cut += int(np.maximum(tokens - longest, 0).sum())
    if cut > settings.max_truncated_share * total:
        raise ValueError(
            f"{job.shard}: {cut} of {total} tokens ({cut / total:.1%}) would be cut off, since {settings.model} takes "
            f"{longest} of a text; embed.max_truncated_share allows {settings.max_truncated_share:.1%}. Cut smaller "
            "chunks (chunk.max_chars), choose a model that takes longer texts, or raise embed.max_truncated_share."
        )
    job.ledger.measure(tokens_in=total, truncated_tokens=cut)


class Shard:
    """A shard's chunks, a row group in memory at a time, and where the vectors of their texts are in the journal.

    All are read from there, however they came there: memory does not grow with the vectors.
    """

    def __init__(self, job: Job, settings: EmbedSettings, recipe: Recipe, form: np.dtype[Any]) -> None:
        self._job, self._settings, self._recipe, self._form = job, settings, recipe, form
        self._journal = job.journal
        self._encoder: Encoder | None = None
        self._batch_tokens = 0
        self._places: dict[bytes, int | DoesNotFit] = {}  # in the journal's bytes
        self._known: set[bytes] = set()
        self._seen: set[bytes] = set()
        self._recalled: set[bytes] = set()
        self._tokens = self._planned_tokens = self._planned_room = 0

    def row_groups(self) -> Iterator[Rows]:
        """Yield the chunks."""
        with pq.ParquetFile(self._job.input("chunks")) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=["chunk_id", "text", "n_tokens"])
                texts = rows["text"].to_pylist()
                tokens = [min(n, self._recipe.longest) for n in rows["n_tokens"].to_pylist()]
                keys = [bytes.fromhex(self._job.item_key(text)) for text in texts]
                yield Rows(rows["chunk_id"].to_pylist(), texts, tokens, keys)

    # What is known

    def take_known(self) -> int:
        """Put the vectors that any shard has finished into the journal; return how many texts are left to compute.

        They are looked for once: what other jobs finish or remove until a killed job goes on changes no batch of it.
        """
        name = self._job.item_key("known", self._job.content_key)
        if name not in self._journal:
            left = {key for rows in self.row_groups() for key in rows.keys}
            groups = 0
            for keys, vectors in known_vectors(self._job.finished_files, left):
                blob = b"".join((*keys, vectors.tobytes()))
                self._journal.put(f"{name}/{groups}", {"keys": len(keys)}, blob)
                groups += 1
            self._journal.put(name, {"groups": groups, "left": len(left)})
        known = self._journal.record(name)
        for group in range(known["groups"]):
            part = f"{name}/{group}"
            start, size = self._journal.offset(part), KEY_BYTES * self._journal.record(part)["keys"]
            raw = self._journal.read(start, size)
            keys = [raw[k : k + KEY_BYTES] for k in range(0, size, KEY_BYTES)]
            self._known.update(keys)
            self._place(keys, start + size)
        left: int = known["left"]
        return left

    # The model

    def load(self, folder: Path, device: Device) -> None:
        """Load the model, in the precision and for batches of the size that are journaled, or else measured.

        So a job that goes on where another was killed computes the same batches in the same precision.
        """
        job, settings = self._job, self._settings
        job.ledger.device = device.to_json()

        def encoder(precision: str) -> Encoder:
            return load_once_more(lambda: Encoder(folder, device, job.threads, precision, settings.prompt))

        name = job.item_key("plan", device.kind, settings.batch_tokens)
        plan = self._journal.record(name) if name in self._journal else None
        longest, sample = ("", []) if plan else self._sample()
        if plan:
            precision = plan["precision"]
        elif settings.precision == "fastest":
            candidates = candidate_precisions(device)
            trials = tried_once(job, device, candidates, lambda: try_precisions(encoder, candidates, sample))
            precision = fastest(trials, settings.parity)
        else:
            precision = precision_for(device, settings.precision)
        with measured_load(job.ledger, folder, device):
            self._encoder = encoder(precision)
        if plan is None:
            fitting = tokens_that_fit(self._encoder, device, longest, settings.batch_tokens)
            plan = {"batch_tokens": fitting, "precision": precision}
            self._journal.put(name, plan)
        self._batch_tokens = plan["batch_tokens"]
        job.ledger.measure(packed=self._encoder.packs, **plan)

    def _sample(self) -> tuple[str, list[str]]:
        """Return the longest text of all, and some of the first row group."""
        longest, sample = (-1, ""), list[str]()
        for rows in self.row_groups():
            longest = max(longest, max(zip(rows.tokens, rows.texts, strict=True)), key=lambda one: one[0])
            sample = sample or sample_of(rows.texts, rows.tokens)
        return longest[1], sample

    # The texts

    def work(self) -> Iterator[Batch | Rows]:
        """Yield the batches of every row group, and then itself.

        Batches hang on the texts that no shard had finished when the job began, and on nothing else that is there.
        """
        for rows in self.row_groups():
            chunks = Counter(rows.keys)
            first = {key: k for k, key in reversed(list(enumerate(rows.keys)))}
            new = sorted(k for key, k in first.items() if key not in self._seen and key not in self._known)
            self._seen.update(chunks)
            yield from self._batches(rows, new, chunks)
            yield rows

    def _batches(self, rows: Rows, new: list[int], chunks: Counter[bytes]) -> Iterator[Batch]:
        if not new:
            return
        assert self._encoder is not None
        padded = not self._encoder.packs
        for batch in plan_batches([rows.tokens[k] for k in new], self._batch_tokens, padded=padded):
            members = [new[k] for k in batch]
            keys = [rows.keys[k] for k in members]
            lengths = [rows.tokens[k] for k in members]
            parts = [[lengths[k] for k in part] for part in self._encoder.parts_of(lengths)]
            self._planned_tokens += sum(lengths)
            self._planned_room += sum(len(part) * max(part) if padded else sum(part) for part in parts)
            name = self._job.item_key("batch", [key.hex() for key in keys])
            known = name in self._journal
            ids = None if known else self._encoder.tokenize([rows.texts[k] for k in members])[0]
            yield Batch(keys, name, sum(chunks[key] for key in keys), ids)

    # Their vectors

    def recall(self, batch: Batch) -> None:
        """Find the vectors of a batch in the journal."""
        self._recalled.update(batch.keys)
        self._place(batch.keys, self._journal.offset(batch.name))

    def compute(self, batch: Batch) -> None:
        """Compute the vectors of a batch and record them; a text that does not fit alone costs only itself."""
        assert self._encoder is not None
        assert batch.ids is not None
        found = dict(zip(batch.keys, self._encoder.encode(batch.ids), strict=True))
        self._tokens += sum(map(len, batch.ids))
        fitting = {key: vector for key, vector in found.items() if not isinstance(vector, DoesNotFit)}
        self._places |= {key: vector for key, vector in found.items() if isinstance(vector, DoesNotFit)}
        if fitting:
            whole = np.stack(list(fitting.values()))
            self._refuse_no_numbers(whole)
            vectors = shortened(whole, self._form["vector"].shape[0], normalize=self._recipe.normalize)
            # A killed job's successor tries a batch again that was not whole.
            name = batch.name if len(fitting) == len(found) else f"{batch.name}/part"
            self._journal.put(name, blob=stored(vectors, self._form).tobytes())
            self._place(list(fitting), self._journal.offset(name))

    def _refuse_no_numbers(self, vectors: npt.NDArray[np.float32]) -> None:
        """Raise ValueError where vectors (n, dimension) are none: a model may overflow in half precision."""
        lost = len(vectors) - int(np.isfinite(vectors).all(axis=1).sum())
        if lost:
            assert self._encoder is not None
            raise ValueError(
                f"{self._settings.model} gave what are no numbers for {lost} of {len(vectors)} texts in "
                f"{self._encoder.precision}; set embed.precision to float32, or to bfloat16 where the device has it"
            )

    def _place(self, keys: list[bytes], offset: int) -> None:
        for number, key in enumerate(keys):
            self._places[key] = offset + number * self._form.itemsize

    def finished(self, rows: Rows) -> Any:
        """Account for a row group whose vectors are all known, and return those of its chunks that have one."""
        ledger, form = self._job.ledger, self._form
        names, keys, vectors = [], [], []
        for chunk_id, key in zip(rows.chunk_ids, rows.keys, strict=True):
            place = self._places[key]
            if isinstance(place, DoesNotFit):
                ledger.quarantine(chunk_id, Fault("OUT_OF_MEMORY", str(place), "splitting the batch"))
                continue
            ledger.use(chunk_id)
            ledger.give(chunk_id)
            ledger.reused += key in self._known or key in self._recalled
            names.append(chunk_id)
            keys.append(key)
            vectors.append(self._journal.read(place, form.itemsize))
        return to_table(names, np.frombuffer(b"".join(vectors), form), keys, self._settings.storage)

    def figures(self) -> dict[str, Any]:
        """Return what the ledger says of the texts; ``tokens`` are those that this job has computed."""
        room = self._planned_room
        padding = round(1 - self._planned_tokens / room, 4) if room else 0.0
        return {"distinct_texts": len(self._seen), "tokens": self._tokens, "padding_share": padding}


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    return identity(params["settings"]["model"], params["settings"]["revision"])


if __name__ == "__main__":
    run_job(
        snakemake,
        embed_chunks,
        Units("chunk", "vector"),
        packages=("torch", "transformers", "tokenizers"),
        identity=_identity,
    )
