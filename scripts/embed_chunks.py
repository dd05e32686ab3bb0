"""Embed the chunks of a shard: tokenized once, batched by tokens, every finished batch recorded at once."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from malgeul.embedding.encoder import Encoder, Vectors, plan_batches
from malgeul.embedding.settings import EmbedSettings
from malgeul.models.devices import claimed_device
from malgeul.models.loading import folder_of, identity, measured_load
from malgeul.models.memory import DoesNotFit
from malgeul.models.profiling import profiled
from malgeul.models.sampling import sampled
from malgeul.shards.faults import Fault
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter, embeddings_schema, read_rows

if TYPE_CHECKING:
    from snakemake.script import snakemake


def embed_chunks(job: Job) -> None:
    """Write a vector for every chunk in the order of the shard; equal texts are computed once."""
    settings = EmbedSettings.model_validate(job.params["settings"])
    rows = list(read_rows(job.input("chunks"), ["chunk_id", "text", "n_tokens"]))
    texts = list(dict.fromkeys(row["text"] for row in rows))
    tokens = {row["text"]: row["n_tokens"] for row in rows}
    batches = plan_batches([tokens[text] for text in texts], settings.batch_tokens)
    keys = [job.item_key([texts[k] for k in batch]) for batch in batches]
    vectors: dict[str, Vectors | DoesNotFit] = {}
    recalled: set[str] = set()
    truncated = 0
    started = time.monotonic()
    with (
        job.progress(len(texts), "texts") as progress,
        claimed_device() as device,
        sampled(job, device),
        profiled(job) as profile,
    ):
        job.ledger.device = device.to_json()
        encoder: Encoder | None = None
        for batch, key in zip(batches, keys, strict=True):
            members = [texts[k] for k in batch]
            if key in job.journal:
                vectors |= _recall(job, key, members)
                recalled.update(members)
                truncated += job.journal.record(key)["truncated"]
                progress.resume(len(members))
                continue
            if encoder is None:
                folder = folder_of(settings.model, settings.revision)
                with measured_load(job.ledger, folder, device):
                    encoder = Encoder(folder, device, job.threads)
            ids, cut = encoder.tokenize(members)
            with profile.batch():
                found = dict(zip(members, encoder.encode(ids), strict=True))
            fitting = {text: vector for text, vector in found.items() if not isinstance(vector, DoesNotFit)}
            if len(fitting) == len(members):  # else a killed job's successor tries the batch again
                _record(job, key, fitting, cut)
            vectors |= found
            truncated += cut
            progress.advance(len(members))
    job.ledger.reused = sum(row["text"] in recalled for row in rows)
    dimension = next((len(v) for v in vectors.values() if not isinstance(v, DoesNotFit)), None)
    if dimension is None:
        dimension = _dimension_of(settings)
    with TableWriter(job.staged("embeddings"), embeddings_schema(dimension)) as out:
        for row in rows:
            vector = vectors[row["text"]]
            if isinstance(vector, DoesNotFit):
                job.ledger.quarantine(row["chunk_id"], Fault("OUT_OF_MEMORY", str(vector), "splitting the batch"))
                continue
            job.ledger.use(row["chunk_id"])
            job.ledger.give(row["chunk_id"])
            out.write({"chunk_id": row["chunk_id"], "vector": vector.tolist()})
    padded = sum(len(batch) * tokens[texts[batch[0]]] for batch in batches)
    total = sum(tokens.values())
    job.ledger.measure(
        tokens=total,
        padding_share=round(1 - total / padded, 4) if padded else 0.0,
        truncated_tokens=truncated,
        distinct_texts=len(texts),
        dimension=dimension,
        seconds_of_work=round(time.monotonic() - started, 3),
    )


def _record(job: Job, key: str, vectors: dict[str, Vectors], truncated: int) -> None:
    job.journal.put(key, {"truncated": truncated}, b"".join(vector.tobytes() for vector in vectors.values()))


def _recall(job: Job, key: str, members: list[str]) -> dict[str, Vectors]:
    stored = np.frombuffer(job.journal.blob(key), dtype=np.float32)
    return dict(zip(members, stored.reshape(len(members), -1), strict=True))


def _dimension_of(settings: EmbedSettings) -> int:
    """Return the dimension of a shard without vectors, from the model's config."""
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(str(folder_of(settings.model, settings.revision))).hidden_size)


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
