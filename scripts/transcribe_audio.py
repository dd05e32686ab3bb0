"""Transcribe the channels of a shard with Whisper: the model loaded once, every finished recording recorded at once."""

import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from malgeul.models.devices import claimed_device
from malgeul.models.loading import folder_of, identity
from malgeul.models.memory import DoesNotFit
from malgeul.shards.faults import Fault
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.speech.settings import TranscribeSettings
from malgeul.speech.subtitles import to_srt, to_txt, to_vtt
from malgeul.speech.whisper import Segment, Whisper, window_seconds
from malgeul.speech.windows import Window, cut, levels, read_audio

if TYPE_CHECKING:
    from snakemake.script import snakemake


def transcribe_audio(job: Job) -> None:
    """Transcribe what neither the journal nor the last success has, and write four files per recording."""
    settings = TranscribeSettings.model_validate(job.params["settings"])
    model = {**job.identity, "language": settings.language}
    manifest = _read_manifest(job)
    keys = {r["id"]: job.item_key(r["id"], r["name"], [_sha256(job, stem) for stem in r["channels"]]) for r in manifest}
    finished = {r["id"]: found for r in manifest if (found := _finished(job, keys[r["id"]]))}
    job.ledger.reused = sum(len(r["channels"]) for r in manifest if r["id"] in finished)
    folder = folder_of(settings.model, settings.revision)
    longest = window_seconds(folder)
    windows = {r["id"]: _windows(job, r, longest) for r in manifest}
    # Planned from the whole shard, so that a resumed job computes the same batches.
    everything = [window for cuts in windows.values() for window in cuts]
    everything.sort(key=lambda w: (w.start - w.end, w.stem, w.start))
    size = settings.batch_windows
    batches = [everything[k : k + size] for k in range(0, len(everything), size)]
    wanted = [batch for batch in batches if any(window.recording not in finished for window in batch)]

    waiting = {recording: len(cuts) for recording, cuts in windows.items() if recording not in finished}
    heard: dict[str, dict[Window, list[Segment] | DoesNotFit]] = defaultdict(dict)
    by_id = {r["id"]: r for r in manifest}
    started = time.monotonic()
    with job.progress(len(manifest), "recordings") as progress:
        progress.resume(len(finished))

        def finish(recording: str) -> None:
            result = _transcript(by_id[recording], model, heard.pop(recording, {}))
            if "fault" not in result:  # a killed job's successor tries again
                job.journal.put(keys[recording], result)
            finished[recording] = result
            progress.advance()

        for recording in [recording for recording, left in waiting.items() if left == 0]:
            finish(recording)
        if wanted:
            with claimed_device() as device:
                job.ledger.device = device.to_json()
                whisper = Whisper(folder, device, settings.language, settings.max_new_tokens, job.threads)
                job.ledger.measure(load_seconds=round(time.monotonic() - started, 3))
                for batch in wanted:
                    for window, segments in zip(batch, whisper.transcribe(_sounds(job, batch)), strict=True):
                        if window.recording in waiting:
                            heard[window.recording][window] = segments
                            waiting[window.recording] -= 1
                            if waiting[window.recording] == 0:
                                finish(window.recording)
    _write(job, manifest, finished, keys)
    job.ledger.measure(windows=len(everything), seconds_of_work=round(time.monotonic() - started, 3))


def _read_manifest(job: Job) -> list[dict[str, Any]]:
    lines = (job.input("recordings") / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _sha256(job: Job, stem: str) -> str:
    """Return the sha256 of a channel's file from the ledger of its conversion."""
    (upstream,) = job.upstream
    return str(upstream.outputs[f"recordings/{job.shard}/{stem}.wav"]["sha256"])


def _finished(job: Job, key: str) -> dict[str, Any] | None:
    """Return what is known of a recording already: from a killed job's journal or from the shard's last success."""
    if key in job.journal:
        return job.journal.record(key)
    for file in job.kept.item(key) or []:
        if file.suffix == ".json":
            return {"transcript": json.loads(file.read_text(encoding="utf-8"))}
    return None


def _windows(job: Job, recording: dict[str, Any], longest: float) -> list[Window]:
    return [
        window
        for channel, stem in enumerate(recording["channels"])
        for window in cut(recording["id"], channel, stem, levels(job.input("recordings") / f"{stem}.wav"), longest)
    ]


def _sounds(job: Job, batch: list[Window]) -> list[Any]:
    """Return the sound of every window of a batch."""
    folder = job.input("recordings")
    return [read_audio(folder / f"{window.stem}.wav", window.start, window.end) for window in batch]


def _transcript(
    recording: dict[str, Any], model: dict[str, Any], heard: dict[Window, list[Segment] | DoesNotFit]
) -> dict[str, Any]:
    """Join a recording's windows in the order of time; a window that failed is the recording's fault alone."""
    for outcome in heard.values():
        if isinstance(outcome, DoesNotFit):
            return {"fault": str(outcome)}
    apart = len(recording["channels"]) > 1
    segments = [
        {
            "start": round(window.start + segment.start, 2),
            "end": round(window.start + segment.end, 2),
            "text": segment.text,
            "channel": window.channel if apart else None,
            "speaker": str(window.channel) if apart else None,
            "avg_logprob": segment.avg_logprob,
            "no_speech_prob": segment.no_speech_prob,
            "compression_ratio": segment.compression_ratio,
            "flags": segment.flags,
        }
        for window, found in heard.items()
        for segment in found  # type: ignore[union-attr]
    ]
    segments.sort(key=lambda segment: (segment["start"], segment["end"], segment["channel"] or 0))
    transcript = {
        "id": recording["id"],
        "name": recording["name"],
        "duration": recording["seconds"],
        "language": model["language"],
        "model": {key: value for key, value in model.items() if key != "language"},
        "channels": recording["channels"],
        "text": " ".join(segment["text"] for segment in segments),
        "segments": segments,
        "no_speech": not heard,
        "not_measured": dict.fromkeys(("avg_logprob", "no_speech_prob"), "greedy decoding keeps no scores"),
    }
    return {"transcript": transcript}


def _write(job: Job, manifest: list[dict[str, Any]], finished: dict[str, dict[str, Any]], keys: dict[str, str]) -> None:
    folder = job.staged("transcripts")
    seconds = 0.0
    for recording in manifest:
        name, result = recording["id"], finished[recording["id"]]
        for channel in recording["channels"]:
            if "fault" in result:
                job.ledger.quarantine(channel, Fault("OUT_OF_MEMORY", result["fault"], "halving the batch"))
            else:
                job.ledger.use(channel)
        if "fault" in result:
            continue
        job.ledger.give(name)
        seconds += recording["seconds"]
        transcript = result["transcript"]
        forms = {
            "json": json.dumps(transcript, ensure_ascii=False, indent=1, sort_keys=True) + "\n",
            "srt": to_srt(transcript["segments"]),
            "vtt": to_vtt(transcript["segments"]),
            "txt": to_txt(transcript["segments"]),
        }
        for suffix, text in forms.items():
            (folder / f"{name}.{suffix}").write_text(text, encoding="utf-8")
        job.ledger.items[keys[name]] = [f"transcripts/{job.shard}/{name}.{suffix}" for suffix in forms]
    job.ledger.measure(audio_seconds=round(seconds, 3))


def _identity(params: dict[str, Any]) -> dict[str, Any]:
    return identity(params["settings"]["model"], params["settings"]["revision"])


if __name__ == "__main__":
    run_job(
        snakemake,
        transcribe_audio,
        Units("channel", "recording"),
        packages=("torch", "transformers"),
        identity=_identity,
    )
