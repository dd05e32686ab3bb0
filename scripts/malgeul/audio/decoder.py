"""ffmpeg turns one recording into 16 kHz PCM: one single-threaded process per file, streamed, and kept in its bounds.

The input is hostile until proven otherwise. ffmpeg gets an open file and never a name, so that no name can be taken for
something else and no suffix for a format. The container must be one of :data:`CONTAINERS`, so that a playlist cannot
make it open other files, and no protocol but ``file`` exists for it. Its memory, output, time and life (it dies with
us) are limited.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path

import imageio_ffmpeg

from malgeul.audio import listing as lines
from malgeul.audio.amr import has_damaged_frame
from malgeul.audio.cores import core_of_its_own
from malgeul.audio.durations import STATED
from malgeul.audio.listing import Listing
from malgeul.audio.pcm import BYTES_PER_SAMPLE, RATE, WAV_HEADER, insert_silence, seconds_of
from malgeul.shards.faults import ItemFault
from malgeul.shards.locks import heed_parent_alone

CONTAINERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "asf", "au", "avi", "caf", "flac", "flv", "matroska", "webm", "mov",
    "mp4", "m4a", "3gp", "3g2", "mj2", "mp3", "mpeg", "mpegts", "ogg", "w64", "wav", "wv",
)  # fmt: skip
"""ffmpeg's names of the containers that are opened."""

SHORTEST_GAP, LONGEST_GAP = 0.5, 3600.0
"""Seconds without a packet that are filled with silence: less is jitter, and a time that jumps further is wrong, as is
one that runs back, and one that the next ones take back."""

_GAPS = (
    "asetpts='ifnot(N,print(-1));"
    "st(1,PTS*TB-ld(0));"  # how much later this frame is than sound without a gap, whose end is in 0, would be
    f"st(0,if(gt(ld(1),{SHORTEST_GAP}),print(NB_CONSUMED_SAMPLES/SR);st(2,print(ld(1)));PTS*TB,"
    f"if(lt(abs(ld(1)+ld(2)),min(ld(2),{SHORTEST_GAP / 2})),print(-2);st(2,0);PTS*TB,ld(0)))+S/SR);"
    "if(isnan(STARTPTS),0,STARTPTS)+NB_CONSUMED_SAMPLES/SR/TB'"
)
"""Has ffmpeg print -1 where the sound begins, for every gap after how many seconds of sound it comes and how long it
is, and -2 where times go on as if the last gap (in 2) had not been: the module listing reads that. The times that go on
count the sound alone, so that no jump of theirs ends it."""
FILTERS = (
    f"{_GAPS},aresample={RATE}:resampler=soxr:rematrix_maxval=1000,aformat=channel_layouts=mono|stereo,"
    "asetnsamples=4096:p=0"
)
"""More than two channels become two by ffmpeg's matrix for their layout, as it is: scaled down, as ffmpeg does it for
integers, until all channels at full scale could not clip, a voice in the centre of 5.1 is 8 dB quieter.

Every frame goes from ffmpeg's thread of filters to that of the encoder and on to that of the writer: large frames save
a fifth of the processor's time (of a frame of AAC at 44.1 kHz 372 samples are left).
"""

MEMORY = 2 << 30
"""Address space of one decoder in bytes; it uses under 60 MB for any length."""

MISSING_SECONDS, MISSING_SHARE = 0.5, 0.001
"""Decoded audio may be shorter than declared by this much (encoder delay, rounding) before something is missing."""

COUNTED_FROM_ZERO = frozenset({"matroska,webm", "asf"})
"""Containers (and Opus in an Ogg) whose duration is the time of their end, also where they begin later than at 0."""

HEARS_PAUSES = {"amr_nb": "libopencore_amrnb", "amr_wb": "libopencore_amrwb"}
"""Decoders of codecs with pauses (DTX: now and then a frame that describes the noise, and else none). ffmpeg's own know
none: they leave out of a mobile phone's call when nobody speaks."""

TICK = 1.0
"""Seconds by which the time of a decoding is counted: one for hours in which the run was stopped (Ctrl-Z)."""

LONGEST_LINE = 4096
"""A longer line of ffmpeg's (a comment in a file's metadata) is read in pieces."""

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of the machine, which ffmpeg gives back as 256 - errno."""

_MAGIC = (b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"caff", b"#!AMR", b"ID3", b".snd", b"wvpk")
_PACKED = {
    (0, b"PK\x03\x04"): "ZIP",
    (0, b"\x1f\x8b"): "gzip",
    (0, b"7z\xbc\xaf"): "7z",
    (0, b"Rar!"): "RAR",
    (0, b"BZh"): "bzip2",
    (257, b"ustar"): "tar",
}
"""What archives hold, and where. ffmpeg looks for frames of MP3 and AAC in anything and would find those that are
packed uncompressed."""
_RIFF_KINDS = {b"RIFF": (b"WAVE", b"AVI "), b"FORM": (b"AIFF", b"AIFC")}


@dataclass(frozen=True)
class Limits:
    """How long a recording may be, and how long its decoding may take, in seconds."""

    recording: float
    decoding: float


@dataclass(frozen=True)
class Decoded:
    """A recording as PCM: how long it is, with silence in its gaps, and should be, and what ffmpeg said.

    ``gaps`` are (seconds of sound before it, seconds): what a container leaves out, such as packets that a network
    lost, pauses that were not sent, and the beginning of a film. All after it keeps its time.
    """

    listing: Listing
    seconds: float
    declared_seconds: float | None
    gaps: Sequence[tuple[float, float]] = ()

    @property
    def gap_seconds(self) -> float:
        """How much is silence because the container leaves it out, but at the beginning (of a film)."""
        return sum(length for after, length in self.gaps if after)

    @property
    def missing_seconds(self) -> float:
        """How much did not come out: gaps, and an end that is declared unless it is within rounding."""
        declared = self.declared_seconds or 0.0
        # Film, subtitles, another language may go on after the sound: only a demuxer that complains tells then of an
        # end that is missing.
        believed = self.listing.cut_off or not self.listing.has_others
        at_end = declared - self.seconds
        is_missing = believed and at_end > MISSING_SECONDS + MISSING_SHARE * declared
        return self.gap_seconds + (at_end if is_missing else 0.0)


@cache
def _has_decoder(name: str) -> bool:
    """Tell whether the ffmpeg in use was built with a decoder."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-decoders"]
    return name in subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


@cache
def ffmpeg_version() -> str:
    """Return the version of the ffmpeg in use; raises RuntimeError when it lacks the resampler soxr."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    if "--enable-libsoxr" not in said:
        raise RuntimeError(f"{command[0]} was built without soxr; unset IMAGEIO_FFMPEG_EXE to use the bundled ffmpeg")
    return said.split()[2]


def decode(source: FileIO, target: Path, limits: Limits) -> Decoded:
    """Decode the first audio stream of ``source`` to ``target``, a WAV of 16 kHz, 16 bits, one or two channels.

    Raises ItemFault for what is wrong with the recording, MemoryError and OSError for what is wrong with the machine.
    """
    head = _head(source, 512)
    if packed := next((name for (at, magic), name in _PACKED.items() if head.startswith(magic, at)), None):
        raise _fault("NOT_AUDIO", f"a {packed} archive, whatever its name says; unpack it")
    listing, (code, in_time) = _decode_by(None, source, target, limits)
    complains = listing.audio and listing.errors and in_time
    another = HEARS_PAUSES.get(listing.audio[0].codec) if complains else None
    if another and _has_decoder(another):
        listing, (code, in_time) = _decode_by(another, source, target, limits)
    seconds = seconds_of(target) if code == 0 else 0.0
    if not in_time:
        raise _fault("TIMEOUT", f"not decoded within {limits.decoding:g} s")
    if listing.encrypted or ((code or listing.errors) and is_protected(source)):
        raise _fault("ENCRYPTED", "the container says that its audio is encrypted")
    if code:
        raise _failure(code, listing, source)
    gaps = [(after, length) for after, length in listing.gaps if length <= LONGEST_GAP]
    if seconds + sum(length for _, length in gaps) > limits.recording:
        raise _fault("TOO_LONG", f"longer than {limits.recording:g} s")
    if not seconds:
        raise _fault("UNDECODABLE", listing.first_error or "not one sample came out")
    if another and has_damaged_frame(source):
        listing.complain("a frame begins as none may")
    if gaps:
        insert_silence(target, gaps)
        seconds = seconds_of(target)
    return Decoded(listing, seconds, _declared_seconds(listing, source), gaps)


def _decode_by(decoder: str | None, source: FileIO, target: Path, limits: Limits) -> tuple[Listing, tuple[int, bool]]:
    listing = Listing()
    return listing, _run(command_line(source.fileno(), target, limits, decoder), source, limits, listing.read)


def command_line(descriptor: int, target: Path, limits: Limits, decoder: str | None = None) -> list[str]:
    """Return ffmpeg's arguments for decoding an open file; ``decoder`` is one that ffmpeg would not choose."""
    return [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *("-nostdin", "-hide_banner", "-nostats", "-loglevel", "repeat+level+info", "-y"),
        *("-threads", "1", "-filter_threads", "1"),
        *("-protocol_whitelist", "file", "-format_whitelist", ",".join(CONTAINERS)),
        *(("-c:a", decoder) if decoder else ()),
        *("-i", f"file:/proc/self/fd/{descriptor}"),
        *("-map", "0:a:0", "-vn", "-sn", "-dn", "-t", f"{limits.recording + 1:g}", "-af", FILTERS),
        *("-c:a", "pcm_s16le", "-threads", "1", "-bitexact", "-map_metadata", "-1", "-f", "wav"),
        f"file:{target.absolute()}",
    ]  # fmt: skip


def _run(command: list[str], source: FileIO, limits: Limits, read: Callable[[str], None]) -> tuple[int, bool]:
    """Run ffmpeg, hand every line it says to ``read``; return its exit status and whether it ended in time."""
    largest = int((limits.recording + 2) * RATE) * 2 * BYTES_PER_SAMPLE + WAV_HEADER
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: largest,
        resource.RLIMIT_AS: MEMORY,  # the last: until it runs ffmpeg the child has the address space of its parent
    }
    lowered = {what: _at_most(what, bound) for what, bound in bounds.items()}
    with core_of_its_own() as core:
        return _run_on(core, command, source, limits, lowered, read)


def _run_on(
    core: int | None,
    command: list[str],
    source: FileIO,
    limits: Limits,
    lowered: dict[int, int],
    read: Callable[[str], None],
) -> tuple[int, bool]:
    in_time = True

    def confine() -> None:
        heed_parent_alone()
        if core is not None:
            os.sched_setaffinity(0, {core})
        for what, bound in lowered.items():
            resource.setrlimit(what, (bound, bound))

    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=[source.fileno()],
        preexec_fn=confine,
    ) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal in_time
            left = limits.decoding
            while left > 0 and not ended.wait(min(left, TICK)):
                left -= TICK
            if left <= 0:
                in_time = False
                process.kill()

        threading.Thread(target=watch, name="decoder-watch", daemon=True).start()
        assert process.stderr is not None
        try:
            while line := process.stderr.readline(LONGEST_LINE):
                read(line.rstrip("\n"))
            return process.wait(), in_time
        finally:
            ended.set()


def _at_most(what: int, bound: int) -> int:
    """Return a bound that may be set, where the job has bounds of its own."""
    hard = resource.getrlimit(what)[1]
    return bound if hard == resource.RLIM_INFINITY else min(bound, hard)


def _fault(kind: str, reason: str) -> ItemFault:
    return ItemFault(kind, reason, f"decoding with ffmpeg {ffmpeg_version()}")


def _failure(code: int, listing: Listing, source: FileIO) -> Exception:
    """Return what to raise for an ffmpeg that failed."""
    if code == -signal.SIGKILL:
        return MemoryError("ffmpeg was killed, by the kernel for memory it seems")
    if 256 - code in DISK_FULL:
        return OSError(256 - code, f"ffmpeg cannot write: {os.strerror(256 - code)}")
    if code < 0:
        return _fault("UNDECODABLE", f"ffmpeg died of {signal.Signals(-code).name}")
    if lines.NOT_LISTED in listing.said:
        return _fault("NOT_AUDIO", "a format that is no container of audio, such as a playlist")
    if lines.MOOV_MISSING in listing.said:
        return _fault("TRUNCATED", lines.MOOV_MISSING)
    if lines.NO_STREAM in listing.said:
        return _fault("NO_AUDIO", f"no audio stream in {listing.container}")
    if lines.NOT_OPENED in listing.said:
        if _begins_as_audio(_head(source, 12)):
            return _fault("TRUNCATED", "begins as a container of audio and cannot be opened")
        return _fault("NOT_AUDIO", "begins like no container of audio")
    return _fault("UNDECODABLE", re.sub(r"/proc/self/fd/\d+", "the file", listing.first_error) or f"status {code}")


def _head(source: FileIO, n: int) -> bytes:
    return os.pread(source.fileno(), n, 0)


def _begins_as_audio(head: bytes) -> bool:
    return head.startswith(_MAGIC) or head[4:8] == b"ftyp" or head[8:12] in _RIFF_KINDS.get(head[:4], ())


def is_protected(source: FileIO) -> bool:
    """Tell whether an MP4 holds the boxes of encrypted audio (ISO/IEC 14496-12, 8.12: ``sinf`` in a protected entry).

    ffmpeg shows the original format of such a stream, so that its tag does not give it away.
    """
    if _head(source, 8)[4:] != b"ftyp":
        return False
    found: set[bytes] = set()
    wanted = (b"sinf", b"enca", b"drms")
    position, overlap = 0, 3
    while block := os.pread(source.fileno(), 1 << 20, position):
        found |= {box for box in wanted if box in block}
        position += max(len(block) - overlap, 1) if len(block) == 1 << 20 else len(block)
    return b"sinf" in found and len(found) > 1


def _declared_seconds(listing: Listing, source: FileIO) -> float | None:
    """Return the duration that the container states, or None where there is none (ffmpeg then estimates one)."""
    if not listing.estimated:
        opus = listing.container == "ogg" and listing.audio[0].codec == "opus"
        before = listing.begins_at if opus or listing.container in COUNTED_FROM_ZERO else 0.0
        return listing.declared_seconds and max(listing.declared_seconds - max(before, 0.0), 0.0)
    stated = STATED.get(listing.container or "")
    return stated(source) if stated else None
