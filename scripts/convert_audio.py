"""Convert the recordings of a shard to 16 kHz mono PCM, as many at once as there are threads."""

import ctypes
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from malgeul.audio.conversion import Conversion, convert_recording
from malgeul.audio.decoder import ffmpeg_version
from malgeul.audio.intake import Intake, Recording, take_in
from malgeul.audio.manifest import MANIFEST, read_facts, row_of, write_manifest
from malgeul.audio.settings import ConvertSettings
from malgeul.shards.faults import RETRYABLE, Fault, ItemFault
from malgeul.shards.files import link_or_copy
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units

if TYPE_CHECKING:
    from snakemake.script import snakemake

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3), as malloc.h numbers them."""


def convert_audio(job: Job) -> None:
    """Take the shard's files in, convert what is not finished yet, and account for every file."""
    _keep_freed_memory()
    intake = take_in(job.sources.files, job.sources.twins, job.sources.content_of)
    with ThreadPoolExecutor(job.threads) as pool:
        outcomes = dict(_outcomes(job, intake.recordings, pool))
    folder = job.staged("recordings")
    rows = []
    for recording in intake.recordings:
        outcome = outcomes[recording.id]
        if isinstance(outcome, Conversion):
            for file in outcome.files:
                link_or_copy(file, folder / file.name)
            rows.append(row_of(recording, outcome.facts))
        _account(job, recording, outcome)
    write_manifest(folder / MANIFEST, rows)
    _account_others(job, intake)
    job.ledger.measure(
        audio_seconds=round(sum(row["seconds"] for row in rows), 3),
        missing_seconds=round(sum(row["partial"]["missing_seconds"] for row in rows if row["partial"]), 3),
        separate_channels=sum(len(row["channels"]) > 1 for row in rows),
    )


def _keep_freed_memory() -> None:
    """Have the C library keep what a block of sound needed for the next one (mallopt(3), glibc alone).

    It would give arrays of some 100 KB back to the kernel and have them cleared anew, thousands of times a recording:
    a sixth of a conversion's processor time.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)


def _outcomes(
    job: Job, recordings: list[Recording], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, Conversion | Fault]]:
    """Yield what came of every recording, by id: from the journal, from the last success, or by converting it now."""
    settings = ConvertSettings.model_validate(job.params["settings"])
    place = job.journal.folder / "files"
    place.mkdir(exist_ok=True)
    kept_facts = read_facts(job.kept.file(f"recordings/{job.shard}/{MANIFEST}"))
    waiting: dict[Future[Conversion | Fault], Recording] = {}
    with job.progress(len(recordings)) as progress:
        for recording in recordings:
            key = _item_key(job, recording)
            if key in job.journal:
                progress.resume(1)
                yield recording.id, _from_record(job, job.journal.record(key))
            elif (kept := job.kept.item(key)) and recording.id in kept_facts:
                progress.resume(1)
                job.ledger.reused += 1
                yield recording.id, Conversion(kept, kept_facts[recording.id])
            else:
                waiting[pool.submit(_convert, recording, job, settings)] = recording
        try:
            for future in as_completed(waiting):
                recording, outcome = waiting[future], future.result()
                if isinstance(outcome, Conversion) or outcome.kind not in RETRYABLE:
                    job.journal.put(_item_key(job, recording), _to_record(outcome))
                progress.advance()
                yield recording.id, outcome
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _convert(recording: Recording, job: Job, settings: ConvertSettings) -> Conversion | Fault:
    try:
        return convert_recording(recording, job.journal.folder / "files", settings)
    except ItemFault as error:
        return error.fault


def _item_key(job: Job, recording: Recording) -> str:
    return job.item_key(recording.content.sha256)


def _to_record(outcome: Conversion | Fault) -> dict[str, Any]:
    if isinstance(outcome, Fault):
        return {"fault": [outcome.kind, outcome.reason, outcome.tried]}
    return {"files": [file.name for file in outcome.files], "facts": outcome.facts}


def _from_record(job: Job, record: dict[str, Any]) -> Conversion | Fault:
    if "fault" in record:
        return Fault(*record["fault"])
    return Conversion([job.journal.folder / "files" / name for name in record["files"]], record["facts"])


def _account(job: Job, recording: Recording, outcome: Conversion | Fault) -> None:
    """Enter a recording and the files that are the same bytes in the ledger."""
    ledger, path = job.ledger, recording.file.path
    if isinstance(outcome, Fault):
        for file in (recording.file, *recording.aliases):
            ledger.quarantine(file.path, outcome, id=recording.id)
        return
    facts = outcome.facts
    ledger.use(path)
    for channel in facts["channels"]:
        ledger.give(channel)
    ledger.items[_item_key(job, recording)] = [f"recordings/{job.shard}/{file.name}" for file in outcome.files]
    for note in _notes(facts):
        ledger.note(path, id=recording.id, **note)
    for alias in recording.aliases:
        ledger.reject(alias.path, "duplicate")
        ledger.note(alias.path, what="duplicate", duplicate_of=recording.id, alias=alias.shown)


def _notes(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a reader should know of a recording that was used although not all of it could be."""
    source = facts["source"]
    if facts["partial"]:
        yield {"what": "partial", **facts["partial"]}
    elif not source["read_to_end"]:
        yield {"what": "not_read_to_its_end", "decoded_seconds": facts["seconds"]}
    if source["decoding_errors"]:
        yield {"what": "decoding_errors", "decoding_errors": source["decoding_errors"]}
    if source["audio_streams"] > 1:
        yield {"what": "first_stream_only", "audio_streams": source["audio_streams"]}


def _account_others(job: Job, intake: Intake) -> None:
    """Enter the files that are no recordings of this shard."""
    for copy in intake.copies:
        job.ledger.reject(copy.file.path, "duplicate")
        job.ledger.note(copy.file.path, what="duplicate", duplicate_of=copy.id, alias=copy.file.shown, shard=copy.shard)
    for file, fault in intake.faults:
        job.ledger.quarantine(file.path, fault)


def _own(job: Job) -> list[list[str]]:
    """Return what the shard depends on of its files: the paths that its ledger counts, the names it shows, contents."""
    files = job.sources.files
    return [[file.path, file.name, digest] for file, digest in zip(files, job.sources.digests_of(files), strict=True)]


def _others(job: Job) -> list[list[str]]:
    """Return what the shard depends on of files of lower shards."""
    twins = job.sources.twins
    digests = job.sources.digests_of(twin.file for twin in twins)
    return [[twin.shard, digest] for twin, digest in zip(twins, digests, strict=True)]


RELEVANT = {"files": _own, "twins": _others}

if __name__ == "__main__":
    run_job(
        snakemake,
        convert_audio,
        Units("recording", "channel"),
        packages=("numpy", "pydub", "silero-vad", "onnxruntime"),
        identity=lambda params: {"ffmpeg": ffmpeg_version()},
        relevant=RELEVANT,
    )
