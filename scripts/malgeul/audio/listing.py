"""What ffmpeg says of a file while it decodes it: container, streams, duration, complaints.

ffmpeg is asked rather than a library in this process (PyAV): a container that crashes or hangs a demuxer then ends one
child and not the shard, the one that describes the file is the one that decodes it, and a fresh machine needs one wheel
less. ``-loglevel repeat+level+info`` puts the level before every line, so that a title that imitates a line of the
listing is not taken for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_CONTEXT = r"(?:\[[^\]]*\] )*"
_LEVEL = re.compile(rf"^{_CONTEXT}\[(?P<level>panic|fatal|error|warning|info)\] (?P<text>.*)$")
_INPUT = re.compile(r"Input #0, (?P<containers>\S+), from ")
_DURATION = re.compile(
    r"  Duration: (?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d(?:\.\d+)?)(?:, start: (?P<start>-?\d+\.\d+))?"
)
_STREAM = re.compile(r"  Stream #0:\d+(?:\[0x[0-9a-f]+\])?(?:\([^)]*\))?: (?P<kind>\w+): (?P<what>.*)$")
_CODEC = re.compile(
    r"(?P<codec>[^\s,]+)(?:.*?\(.{1,16} / 0x(?P<tag>[0-9A-F]{8})\))?.*?, (?P<rate>\d+) Hz, (?P<layout>[^,]+)"
)
_METADATA = frozenset({"  Metadata:", "    Metadata:"})
"""Before the tags of the container and of a stream; those of a chapter are further in."""
_TAG = re.compile(r"^ {4,6}(?P<name>\S.*?) *: (?P<value>.*)$")
_NUMBER = re.compile(r"-?\d+\.\d+")
_TAG_GOES_ON = re.compile(r"^ {20,}: (?P<value>.*)$")

BEGINS, TAKEN_BACK = -1, -2
"""What the filters print (see the decoder's) that is no time."""
CUT_OFF = ("partial file", "File ended prematurely", "corrupt input packet")
"""What demuxers say when a file ends before its container does."""
STOPPED = "Error during demuxing"
_LASTING = frozenset({"Audio", "Video", "Subtitle"})
PROTECTED_TAGS = frozenset({"drms", "enca", "adrm", "aavd"})
"""Sample entries of encrypted audio: Apple's FairPlay, Common Encryption, Audible."""
MOST_TAGS, LONGEST_TAG = 64, 1000
"""Of tags so many are kept, and so many characters of each."""
CHANNELS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8, "cube": 8}
"""Layouts whose names do not count their channels."""


@dataclass(frozen=True)
class AudioStream:
    """The first audio stream of a file; rate in Hz."""

    codec: str
    tag: str
    sample_rate: int
    channels: int


@dataclass
class Listing:
    """What ffmpeg said of one file. Feed it line by line."""

    container: str | None = None
    declared_seconds: float | None = None
    begins_at: float = 0.0
    estimated: bool = False
    audio: list[AudioStream] = field(default_factory=list)
    has_others: bool = False
    """Streams that may last longer than the first of audio: film, another language, subtitles. A picture is none, and
    chapters and the like only go with one."""
    cut_off: bool = False
    stopped: bool = False
    """Whether ffmpeg gave up before the end of the file, which it ends well nonetheless."""
    errors: int = 0
    first_error: str = ""
    said: set[str] = field(default_factory=set)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    _begun: int = 0  # more than once where the kind of sound changes: places are then counted from there
    _after: float | None = None
    tags: dict[str, str] = field(default_factory=dict)
    _has_tags: bool = False  # whether what is described are the container or its first audio stream
    _about_tags: bool = False
    _last_tag: str | None = None
    _about_input: bool = True

    def read(self, line: str) -> None:
        """Take one line of ffmpeg's standard error."""
        leveled = _LEVEL.match(line)
        if leveled is None:
            self._read_plain(line)
        elif leveled["level"] == "info":
            self._read_info(leveled["text"])
        else:
            self._read_complaint(leveled["level"], leveled["text"])

    def complain(self, text: str) -> None:
        """Count what is wrong with the sound."""
        self.errors += 1
        self.first_error = self.first_error or text

    def _read_plain(self, line: str) -> None:
        if self._about_tags and self._last_tag and (more := _TAG_GOES_ON.match(line)):
            self.tags[self._last_tag] = f"{self.tags[self._last_tag]}\n{more['value']}"[:LONGEST_TAG]

    def _read_info(self, text: str) -> None:
        if text.startswith(("Stream mapping:", "Output #0")):
            self._about_input = False
        elif not self._about_input:
            if _NUMBER.fullmatch(text):
                self._read_number(float(text))
        elif self._about_tags and (found := _TAG.match(text)):
            self._read_tag(found["name"], found["value"])
        elif text in _METADATA:
            self._about_tags = self._has_tags
        else:
            self._about_tags = False
            self._read_input(text)

    def _read_number(self, number: float) -> None:
        """Take a number that the filters print: a beginning, the end of what was no gap, or place and length of one."""
        if number == BEGINS:
            self._begun += 1
        elif number == TAKEN_BACK:
            if self._begun == 1:
                self.gaps.pop()
        elif self._after is None:
            self._after = number
        else:
            if self._begun == 1:
                self.gaps.append((self._after, number))
            self._after = None

    def _read_input(self, text: str) -> None:
        if found := _INPUT.match(text):
            self.container = found["containers"]
            self._has_tags = True
        elif found := _DURATION.match(text):
            hours, minutes, seconds = (float(found[part]) for part in ("hours", "minutes", "seconds"))
            self.declared_seconds = hours * 3600 + minutes * 60 + seconds
            self.begins_at = float(found["start"] or 0)
        elif found := _STREAM.match(text):
            self._has_tags = found["kind"] == "Audio" and not self.audio
            self._read_stream(found["kind"], found["what"])
        elif text.startswith("  Stream"):  # a group of streams
            self._has_tags = False

    def _read_stream(self, kind: str, what: str) -> None:
        if kind != "Audio" or self.audio:
            self.has_others |= kind in _LASTING and "(attached pic)" not in what
        if kind != "Audio":
            return
        if found := _CODEC.match(what):
            tag = bytes.fromhex(found["tag"] or "")[::-1].decode("latin-1")
            self.audio.append(AudioStream(found["codec"], tag, int(found["rate"]), count_channels(found["layout"])))
        else:  # a stream that the demuxer names and cannot describe
            self.audio.append(AudioStream(what.split(",")[0].split(" ")[0], "", 0, 0))

    def _read_tag(self, name: str, value: str) -> None:
        """Take a tag of the container or, where that has none of the name, of the first audio stream."""
        self._last_tag = name if name not in self.tags and len(self.tags) < MOST_TAGS else None
        if self._last_tag:
            self.tags[name] = value[:LONGEST_TAG]

    def _read_complaint(self, level: str, text: str) -> None:
        self.stopped |= STOPPED in text
        self.cut_off |= any(sign in text for sign in CUT_OFF)
        self.estimated |= "Estimating duration from bitrate" in text
        if level == "warning":
            return
        self.complain(text)
        self.said |= {sign for sign in SAID if sign in text}

    @property
    def encrypted(self) -> bool:
        """Whether the container says that the audio is encrypted."""
        return bool(self.audio) and self.audio[0].tag in PROTECTED_TAGS


MOOV_MISSING = "moov atom not found"
NOT_LISTED = "Format not on whitelist"
NO_STREAM = "matches no streams"
NOT_OPENED = "Error opening input"
SAID = (MOOV_MISSING, NOT_LISTED, NO_STREAM, NOT_OPENED)
"""Errors that decide about the class of a fault."""


def count_channels(layout: str) -> int:
    """Return the channels of a layout in ffmpeg's words (``stereo``, ``5.1(side)``, ``3 channels``); 0 when unknown."""
    name = layout.split("(")[0].strip()
    if name in CHANNELS:
        return CHANNELS[name]
    if found := re.fullmatch(r"(\d+) channels", name):
        return int(found[1])
    if re.fullmatch(r"\d+(\.\d+)+", name):
        return sum(int(part) for part in name.split("."))
    return 0
