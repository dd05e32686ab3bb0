"""Config of transcription and analysis."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from malgeul.models.precision import Precision
from malgeul.shards.settings import Named, Section


class TranscribeSettings(Section):
    """Which Whisper transcribes, and how."""

    HANDLING: ClassVar = ["model", "revision", "batch_windows", "known_phrases"]
    # These change no text: what a model holds is in the job's identity, however it is spelled.

    model: Named = "resources/models/whisper-ko-demo"
    """Hub id (openai/whisper-large-v3-turbo) or folder of a Whisper checkpoint."""
    revision: Named | None = None
    """Revision of a hub id; pin it for results that can be repeated."""
    language: str = "ko"
    """Language that is spoken."""
    batch_windows: int = Field(16, ge=1)
    """Windows of up to 30 s that are decoded together, at most; halved when memory runs out."""
    precision: Precision = "auto"
    """In what the model computes. auto: float16 on every GPU, float32 on every processor. fastest: what
    hears a batch fastest on this machine, of float32, bfloat16 (where there are instructions for it) and int8,
    measured once in a run; texts may differ a little from machine to machine."""
    max_new_tokens: int = Field(440, ge=1, le=444)
    """Tokens that a window may give."""
    temperatures: list[Annotated[float, Field(gt=0, le=1)]] = [0.2, 0.4, 0.6, 0.8, 1.0]
    """At which a window is decoded again, one after the other, while its text is doubtful (repeats itself, is too fast
    or too unlikely, holds bytes that are no character); none: doubtful text is only flagged."""
    word_times: bool = False
    """Say of every word when it was said, from what the model's decoder looked at (``words`` of a segment)."""
    known_phrases: list[Named] = ["resources/known_phrases.txt"]
    """Files with what Whisper is known to say where nobody speaks, a phrase a line; such segments are flagged."""


class DiarizeSettings(Section):
    """Who speaks when in recordings of one channel, by a program of the user's choice."""

    HANDLING: ClassVar = ["model", "revision"]
    # What the model holds is in the job's identity, however it is spelled.

    file: Named | None = None
    """Python file whose ``load(**options)`` returns a function: from samples (float32, 16 kHz) to (start, end, speaker)
    in seconds. resources/diarizers/pyannote.py asks pyannote.audio. null: speakers are not told apart. A change of the
    file or the options diarizes again; one of what the file imports does not."""
    model: Named | None = None
    """Hub id or folder of the model that the program loads: all its files are had before a GPU is taken, and ``load``
    is given their folder as ``model``. null: the program has its model by itself."""
    revision: Named | None = None
    """Revision of a hub id."""
    options: dict[str, Any] = {}
    """Given to load."""
    gpu: bool = False
    """It computes on a GPU where there is one; its jobs then take turns with the others that do."""

    @model_validator(mode="after")
    def _is_named_once(self) -> DiarizeSettings:
        if self.model is not None and "model" in self.options:
            raise ValueError("the model is named twice: as `model`, which is fetched beforehand, and among the options")
        return self

    @model_validator(mode="after")
    def _is_used(self) -> DiarizeSettings:
        given = [key for key in ("model", "options", "gpu") if getattr(self, key)]
        if given and self.file is None and "file" not in self.model_fields_set:  # a null that is given turns it off
            raise ValueError(
                f"the key {given[0]} is read with a file alone, and without one no speakers are told apart; name the "
                "program (resources/diarizers/pyannote.py asks pyannote.audio)"
            )
        if self.revision is not None and self.model is None:
            raise ValueError("the key revision is read with a model alone")
        return self


class AnalyzeSettings(Section):
    """Which facts of a conversation are measured."""

    lexicons: list[Named] = ["resources/lexicons"]
    """YAML files, or folders of them, with the rules whose spans are found."""
    pause_seconds: list[Annotated[float, Field(gt=0)]] = Field([0.2, 0.5, 2.0], min_length=1)
    """Pauses longer than each of these are counted."""
