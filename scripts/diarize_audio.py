"""Tell the speakers of a shard's recordings of one channel apart, by a program of the user's choice."""

from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from malgeul.models.devices import claimed_device
from malgeul.models.loading import folder_of, identity
from malgeul.models.profiling import profiled
from malgeul.models.sampling import sampled
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.tables import TableWriter
from malgeul.speech.manifest import read_manifest
from malgeul.speech.settings import DiarizeSettings
from malgeul.speech.speakers import SPEAKERS, Diarizer, Stretch, load_diarizer
from malgeul.speech.windows import read_audio

if TYPE_CHECKING:
    from snakemake.script import snakemake


def diarize_audio(job: Job) -> None:
    """Write who speaks when; a recording with a channel per speaker, or in which nobody speaks, has no rows."""
    settings = DiarizeSettings.model_validate(job.params["settings"])
    (converted,) = job.upstream
    folder = job.input("recordings")
    manifest = read_manifest(folder)
    table_name = f"speakers/{job.shard}.parquet"
    diarizer: Diarizer | None = None
    with ExitStack() as stack:
        table = stack.enter_context(TableWriter(job.staged("speakers"), SPEAKERS))
        progress = stack.enter_context(job.progress(len(manifest), "recordings"))
        profile = stack.enter_context(profiled(job))
        for recording, row in manifest.items():
            for channel in row["channels"]:
                job.ledger.use(channel)
            job.ledger.give(recording)
            if len(row["channels"]) > 1 or not any(row["speech"].values()):
                progress.advance()
                continue
            (stem,) = row["channels"]
            sound = converted.outputs[f"recordings/{job.shard}/{stem}.wav"]["sha256"]
            key = job.item_key(
                recording, sound, [digest for role, digest in job.input_digests.items() if "program" in role]
            )
            if key in job.journal:
                found = [Stretch(**stretch) for stretch in job.journal.record(key)["stretches"]]
                progress.resume(1)
            elif (known := job.finished_items.get(key)) is not None:
                found = [Stretch(**stretch) for stretch in known]
                job.ledger.reused += 1
                progress.resume(1)
            else:
                if diarizer is None:
                    if settings.gpu:
                        device = stack.enter_context(claimed_device())
                        stack.enter_context(sampled(job, device))
                        job.ledger.device = device.to_json()
                    diarizer = load_diarizer(job.input("program"), _options(settings))
                samples = read_audio(folder / f"{stem}.wav", 0.0, row["seconds"])
                with profile.batch():
                    found = diarizer(samples)
                job.journal.put(key, {"stretches": [asdict(stretch) for stretch in found]})
                progress.advance()
            for stretch in found:
                table.write({"recording": recording, **asdict(stretch)})
            job.finished_items.put(key, [asdict(stretch) for stretch in found])
            job.ledger.items[key] = [table_name]


def _options(settings: DiarizeSettings) -> dict[str, Any]:
    """Return what the program's load is given: where the config names a model, its folder, too."""
    if settings.model is None:
        return settings.options
    return {**settings.options, "model": str(folder_of(settings.model, settings.revision, "all"))}


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    settings = DiarizeSettings.model_validate(params["settings"])
    return identity(settings.model, settings.revision, "all") if settings.model else {}


if __name__ == "__main__":
    run_job(snakemake, diarize_audio, Units("channel", "recording"), packages=("numpy", "pyarrow"), identity=_identity)
