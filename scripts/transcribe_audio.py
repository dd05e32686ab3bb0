"""Transcribe the channels of a shard with Whisper: the model loaded once, every finished recording recorded at once."""

import json
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.models.devices import Device, claimed_device
from malgeul.models.loading import folder_of, identity, load_once_more, measured_load
from malgeul.models.memory import DoesNotFit, cost_of, planned_size
from malgeul.models.precision import candidate_precisions
from malgeul.models.profiling import profiled
from malgeul.models.sampling import sampled
from malgeul.models.trials import Trials, tried_once
from malgeul.shards.faults import Fault
from malgeul.shards.job import Job, run_job
from malgeul.shards.ledger import Units
from malgeul.shards.stopping import whole_batch
from malgeul.speech.doubts import compression_ratio, flag_known_phrases, read_phrases
from malgeul.speech.manifest import read_manifest
from malgeul.speech.settings import TranscribeSettings
from malgeul.speech.speakers import name_speakers, read_turns
from malgeul.speech.subtitles import to_srt, to_txt, to_vtt
from malgeul.speech.whisper import Heard, Segment, Whisper, window_seconds
from malgeul.speech.windows import Window, read_window, windows_of
from malgeul.speech.words import Word

if TYPE_CHECKING:
    from snakemake.script import snakemake

Outcome = list[Segment] | DoesNotFit
"""What came of a window."""


@dataclass(frozen=True)
class Beginning:
    """What a model heard first, and by the memory that the first window took: how many fit together."""

    heard: dict[Window, list[Segment]]
    cost: int
    batch_windows: int


def transcribe_audio(job: Job) -> None:
    """Transcribe what neither the journal nor the last success has, and write four files per recording."""
    settings = TranscribeSettings.model_validate(job.params["settings"])
    manifest = read_manifest(job.input("recordings"))
    keys = {recording: _item_key(job, row) for recording, row in manifest.items()}
    known = ((recording, _finished(job, keys[recording], row["name"])) for recording, row in manifest.items())
    finished = {recording: found for recording, found in known if found}
    job.ledger.reused = sum(len(manifest[recording]["channels"]) for recording in finished)
    folder = folder_of(settings.model, settings.revision)
    longest = window_seconds(folder)
    windows = {recording: windows_of(row, job.input("recordings"), longest) for recording, row in manifest.items()}
    waiting = {recording: len(cuts) for recording, cuts in windows.items() if recording not in finished}
    heard: dict[str, dict[Window, Outcome]] = {recording: {} for recording in waiting}
    model = {**job.identity, "language": settings.language}
    started = time.monotonic()
    with job.progress(len(manifest), "recordings") as progress:
        progress.resume(len(finished))

        def take(window: Window, outcome: Outcome) -> None:
            heard[window.recording][window] = outcome
            waiting[window.recording] -= 1
            finish(window.recording)

        def finish(recording: str) -> None:
            if waiting[recording]:
                return
            result = _transcript(manifest[recording], model, heard.pop(recording))
            if "fault" not in result:  # a killed job's successor tries again
                job.journal.put(keys[recording], result)
            finished[recording] = result
            progress.advance()

        wanted = []
        for recording in list(waiting):
            finish(recording)
            for window in windows[recording]:
                key = _window_key(keys, window)
                if key in job.journal:
                    take(window, [Segment.from_json(segment) for segment in job.journal.record(key)["segments"]])
                else:
                    wanted.append(window)
        if wanted:
            everything = [window for cuts in windows.values() for window in cuts]
            for window, outcome in _decoded(job, settings, folder, everything, set(wanted)):
                if isinstance(outcome, list):
                    segments = [asdict(segment) for segment in outcome]
                    job.journal.put(_window_key(keys, window), {"segments": segments})
                take(window, outcome)
    turns = read_turns(job.inputs["speakers"])
    phrases = read_phrases(job.inputs["known_phrases"])
    for recording, result in finished.items():
        if "transcript" in result:
            flag_known_phrases(result["transcript"]["segments"], phrases)
        if "transcript" in result and len(manifest[recording]["channels"]) == 1:
            name_speakers(result["transcript"]["segments"], turns.get(recording, []))
    _write(job, manifest, finished, keys)
    job.ledger.measure(
        windows=sum(map(len, windows.values())),
        spoken_seconds=round(sum(window.seconds for cuts in windows.values() for window in cuts), 3),
        seconds_of_work=round(time.monotonic() - started, 3),
    )


def _decoded(
    job: Job, settings: TranscribeSettings, folder: Path, everything: list[Window], wanted: set[Window]
) -> Iterator[tuple[Window, Outcome]]:
    """Yield what the model hears in every wanted window; the next batch is read and prepared in the meantime.

    Batches are planned over all windows of the shard, the longest first, and the plan is journaled, so that a job that
    goes on where another was killed computes the same batches in the same precision. What was heard to make the plan
    are batches of it.
    """
    everything = sorted(everything, key=lambda window: (-window.seconds, window.stem, window.start))
    with (
        claimed_device() as device,
        sampled(job, device),
        profiled(job) as profile,
        ThreadPoolExecutor(1) as ahead,
    ):
        job.ledger.device = device.to_json()
        key = job.item_key("plan", settings.batch_windows, [window.stem for window in everything])
        plan = job.journal.record(key) if key in job.journal else None
        tried: dict[str, Beginning] = {}
        precision = plan["precision"] if plan else _precision(job, settings, folder, device, everything, tried)
        whisper = _load(job, settings, folder, device, precision)
        loaded = time.monotonic()
        heard: dict[Window, list[Segment]] = {}
        if plan is None:
            begun = tried.get(precision) or _begin(job, settings, whisper, device, everything)
            heard = begun.heard
            plan = {"batch_windows": begun.batch_windows, "precision": whisper.precision}
            plan["window_megabytes"] = round(begun.cost / 1e6)
            job.journal.put(key, plan)
        job.ledger.measure(warm_up_seconds=round(time.monotonic() - loaded, 3), **plan)
        with whole_batch():
            yield from ((window, outcome) for window, outcome in heard.items() if window in wanted)
        wanted = wanted - heard.keys()
        batches = [batch for batch in _batches(everything, plan["batch_windows"]) if wanted.intersection(batch)]
        coming = deque(ahead.submit(_hear, job, whisper, batch) for batch in batches[:1])
        for number, batch in enumerate(batches):
            sounds = coming.popleft().result()
            coming.extend(ahead.submit(_hear, job, whisper, later) for later in batches[number + 1 : number + 2])
            with whole_batch():  # until who asks for the next batch has recorded this one
                with profile.batch():
                    outcomes = whisper.transcribe(sounds)
                for window, outcome in zip(batch, outcomes, strict=True):
                    if window in wanted:
                        yield window, outcome


def _batches(windows: list[Window], size: int) -> list[list[Window]]:
    """Return windows in batches of ``size``; the first, by which the size was found, is a batch of its own."""
    return [windows[:1], *(windows[at : at + size] for at in range(1, len(windows), size))]


def _begin(
    job: Job, settings: TranscribeSettings, whisper: Whisper, device: Device, windows: list[Window]
) -> Beginning:
    """Hear the first window alone, and plan by the memory that it took how many are heard together."""
    sounds = _hear(job, whisper, windows[:1])
    outcomes, cost = cost_of(device, lambda: whisper.transcribe(sounds))
    size = planned_size(device, cost, settings.batch_windows)
    return Beginning(_heard(windows[:1], outcomes), cost, size)


def _heard(batch: list[Window], outcomes: list[Outcome]) -> dict[Window, list[Segment]]:
    """Return what of a batch needs not be heard again: all but what did not fit, which may the next time."""
    return {window: found for window, found in zip(batch, outcomes, strict=True) if isinstance(found, list)}


def _load(job: Job, settings: TranscribeSettings, folder: Path, device: Device, precision: str) -> Whisper:
    how = (settings.language, settings.max_new_tokens, job.threads, settings.temperatures, precision)
    with measured_load(job.ledger, folder, device):
        return load_once_more(lambda: Whisper(folder, device, *how, word_times=settings.word_times))


def _precision(
    job: Job,
    settings: TranscribeSettings,
    folder: Path,
    device: Device,
    windows: list[Window],
    tried: dict[str, Beginning],
) -> str:
    """Return the precision of the settings, or the one that hears windows fastest: one model at a time is loaded.

    The first job of the run that asks tries them with its own ``windows``, and finds in ``tried`` what each heard.
    """
    candidates = candidate_precisions(device) if settings.precision == "fastest" else [settings.precision]
    if len(candidates) == 1:
        return candidates[0]

    def seconds_a_window(precision: str) -> float:
        """Measure a batch of as many windows as are decoded together: cores share out a batch, not a window."""
        whisper = _load(job, settings, folder, device, precision)
        begun = _begin(job, settings, whisper, device, windows)  # the first time costs more
        batch = _batches(windows, begun.batch_windows)[:2][-1]
        sounds = _hear(job, whisper, batch)
        started = time.monotonic()
        outcomes = whisper.transcribe(sounds)
        seconds = (time.monotonic() - started) / len(batch)
        tried[precision] = replace(begun, heard={**begun.heard, **_heard(batch, outcomes)})
        return round(seconds, 4)

    def measure() -> Trials:
        return {one: {"seconds": seconds_a_window(one)} for one in candidates}

    trials = tried_once(job, device, candidates, measure)
    return min(candidates, key=lambda precision: trials[precision]["seconds"])


def _hear(job: Job, whisper: Whisper, batch: list[Window]) -> list[Heard]:
    """Return the sound of every window of a batch."""
    folder = job.input("recordings")
    return [whisper.hear(read_window(folder / f"{window.stem}.wav", window)) for window in batch]


def _window_key(keys: dict[str, str], window: Window) -> str:
    return f"{keys[window.recording]}/{window.stem}@{window.start}"


def _sha256(job: Job, stem: str) -> str:
    """Return the sha256 of a channel's file from the ledger of its conversion."""
    converted = job.upstream[0]
    return str(converted.outputs[f"recordings/{job.shard}/{stem}.wav"]["sha256"])


def _item_key(job: Job, recording: dict[str, Any]) -> str:
    """Return the key of a recording's transcript: its sound, and where it is spoken."""
    sounds = [_sha256(job, stem) for stem in recording["channels"]]
    return job.item_key(recording["id"], sounds, recording["speech"])


def _finished(job: Job, key: str, name: str) -> dict[str, Any] | None:
    """Return what is known of a recording already: from a killed job's journal, or from a success of any shard.

    It may have had another ``name`` then.
    """
    transcript = job.journal.record(key)["transcript"] if key in job.journal else job.finished_items.get(key)
    return {"transcript": {**transcript, "name": name}} if transcript else None


def _transcript(recording: dict[str, Any], model: dict[str, Any], heard: dict[Window, Outcome]) -> dict[str, Any]:
    """Join a recording's windows in the order of time; a window that failed is the recording's fault alone."""
    for outcome in heard.values():
        if isinstance(outcome, DoesNotFit):
            return {"fault": str(outcome)}
    apart = len(recording["channels"]) > 1
    segments = []
    for window, found in heard.items():
        for segment in (part for whole in found for part in _parted(whole, window)):  # type: ignore[union-attr]
            start, end, across = window.place(segment.start, segment.end)
            segments.append(
                {
                    "start": round(start, 3),
                    "end": round(end, 3),
                    "text": segment.text,
                    "channel": window.channel if apart else None,
                    "speaker": str(window.channel) if apart else None,
                    "avg_logprob": segment.avg_logprob,
                    "no_speech_prob": segment.no_speech_prob,
                    "compression_ratio": segment.compression_ratio,
                    "temperature": segment.temperature,
                    "flags": sorted([*segment.flags, *(["across_pause"] if across else [])]),
                    "words": segment.words and [_placed(word, window) for word in segment.words],
                }
            )
    unmeasured = any(segment["no_speech_prob"] is None for segment in segments)
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
        "not_measured": {"no_speech_prob": "the model has no token for it"} if unmeasured else {},
    }
    return {"transcript": transcript}


def _parted(segment: Segment, window: Window) -> list[Segment]:
    """Part a segment whose words lie on both sides of a pause that the model did not hear."""
    runs = [list(run) for _, run in groupby(segment.words or [], lambda word: window.span_of(word.start, word.end))]
    if len(runs) < 2:
        return [segment]
    texts = [" ".join(word.word for word in run) for run in runs]
    return [
        replace(
            segment,
            start=run[0].start,
            end=run[-1].end,
            text=text,
            compression_ratio=compression_ratio(text),
            words=run,
        )
        for run, text in zip(runs, texts, strict=True)
    ]


def _placed(word: Word, window: Window) -> dict[str, Any]:
    start, end, _ = window.place(word.start, word.end)
    return {**vars(word), "start": round(start, 3), "end": round(end, 3)}


def _write(
    job: Job, manifest: dict[str, dict[str, Any]], finished: dict[str, dict[str, Any]], keys: dict[str, str]
) -> None:
    folder = job.staged("transcripts")
    seconds = 0.0
    for name, recording in manifest.items():
        result = finished[name]
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
        job.finished_items.put(keys[name], transcript)
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
