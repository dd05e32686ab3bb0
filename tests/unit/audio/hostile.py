"""Files that nobody wants to be sent, made on the spot: cut off, lying, disguised, badly named.

python tests/unit/audio/hostile.py FOLDER   makes them there, to try another program on them
"""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

from unit.audio.conftest import ffmpeg, noise

Outcome = set[str]
"""What may become of a file: classes of faults, or USED."""

USED = "USED"
GARBAGE = {"NOT_AUDIO", "UNDECODABLE", "TRUNCATED", "NO_AUDIO"}
"""Random bytes may look like a container by chance; that they are refused is what counts."""


def make(folder: Path) -> dict[Path, Outcome]:
    """Write the files into ``folder``; return what may become of each that a search for recordings finds."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[Path, Outcome] = {}
    for number, (name, content, outcome) in enumerate(_contents(folder)):
        file = folder / name
        file.write_bytes(content)
        assert file not in made, f"file {number} is there twice"
        made[file] = outcome
    return made | _no_files(folder)


def _contents(folder: Path) -> Iterator[tuple[str, bytes, Outcome]]:
    rng = random.Random(0)
    whole = {suffix: _sound(folder, suffix) for suffix in ("m4a", "mp3", "wav", "flac", "ogg")}
    secret = folder / "secret.wav"
    secret.write_bytes(_sound(folder, "wav", seed=99))
    yield "whole.m4a", whole["m4a"], {USED}

    # cut off, at many places
    for suffix, content in whole.items():
        for share in (0.001, 0.02, 0.3, 0.9):
            cut = max(1, int(len(content) * share))
            yield f"cut at {share}.{suffix}", content[:cut] + bytes([rng.randrange(256)]), {USED, *GARBAGE}
    late = _sound(folder, "m4a", "-movflags", "0")
    yield "index at the end, cut.m4a", late[: len(late) * 9 // 10], {"TRUNCATED"}
    yield "hole.mp3", whole["mp3"][:9000] + bytes(9000) + whole["mp3"][18000:], {USED}
    yield "flipped bits.flac", _flipped(whole["flac"], rng), {USED, "UNDECODABLE"}

    # no audio, whatever they are called
    yield "random.mp3", rng.randbytes(100_000), GARBAGE
    yield "random.wav", rng.randbytes(100_000), GARBAGE
    yield "zeros.m4a", bytes(100_000), GARBAGE
    yield "one byte.ogg", b"O", GARBAGE
    yield "empty.mp3", b"", {"EMPTY"}
    yield "archive.mp3", _archive(whole["mp3"]), GARBAGE
    yield "archive.aac", _tar(_sound(folder, "aac")), GARBAGE
    yield "page.mp3", b"<!DOCTYPE html><html><title>404</title>" + "찾을 수 없습니다".encode() * 50, GARBAGE
    yield "text.wav", "이것은 글이다.\n".encode() * 100, GARBAGE
    yield "picture.m4a", b"\x89PNG\r\n\x1a\n" + rng.randbytes(2000), GARBAGE
    yield "program.wav", b"\x7fELF" + rng.randbytes(2000), GARBAGE
    yield "film.mp4", _film(folder), {"NO_AUDIO"}

    # lists of other files
    lists = {
        "list.mp3": f"#EXTM3U\n#EXTINF:2,\n{secret}\n",
        "stream.m4a": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "concat.m4a": f"ffconcat version 1.0\nfile '{secret}'\n",
        "concat.wav": f"file '{secret}'\n",
        "list.wav": f"[playlist]\nFile1={secret}\nNumberOfEntries=1\n",
        "remote.mp3": "#EXTM3U\nhttp://127.0.0.1:9/a.mp3\n",
        "image.ogg": f"%d\n{folder}/%03d.wav\n",
        "sdp.wav": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    }
    for name, content in lists.items():
        yield name, content.encode(), GARBAGE

    # headers that lie
    yield "ten hours declared.wav", _riff(16_000, 1, 16_000 * 2 * 36_000) + bytes(32_000), {USED}
    yield "rate 0.wav", _riff(0, 1, 32_000) + bytes(32_000), GARBAGE
    yield "rate 1.wav", _riff(1, 1, 4) + bytes(4), {USED, "TOO_LONG", *GARBAGE}
    yield "no channels.wav", _riff(16_000, 0, 32_000) + bytes(32_000), GARBAGE
    yield "65535 channels.wav", _riff(16_000, 65_535, 65_535 * 2) + bytes(65_535 * 2), {USED, *GARBAGE}
    yield "no samples.wav", _riff(16_000, 1, 0), GARBAGE

    # odd, and good
    for rate in (8_000, 11_025, 96_000, 192_000):
        yield f"{rate} Hz.wav", _sound(folder, "wav", rate=rate), {USED}
    for channels in (2, 3, 6, 8):
        yield f"{channels} channels.wav", _sound(folder, "wav", channels=channels), {USED}
    yield "a sample.wav", _riff(16_000, 1, 2) + b"\x01\x00", {USED, *GARBAGE}

    # names
    for number, name in enumerate(_NAMES):
        yield name, _sound(folder, "mp3", seed=100 + number), {USED}


_NAMES = [
    "-rf.mp3",
    "--help.mp3",
    "$(touch owned).mp3",
    "`touch owned`.mp3",
    "new\nline.mp3",
    "tab\t.mp3",
    "quote'\".mp3",
    "; rm -rf .mp3",
    "%s%n%d.mp3",
    "{wildcards.shard}.mp3",
    "a:b|c&d.mp3",
    "file:secret.wav.mp3",
    "http:--x.mp3",
    "* ?.mp3",
    " .mp3",
    "\\.mp3",
    unicodedata.normalize("NFC", "통화.mp3"),
    unicodedata.normalize("NFD", "통화.mp3"),
    unicodedata.normalize("NFD", "한" * 24) + "x" * 20 + ".mp3",
    "가" * 78 + ".mp3",
    os.fsdecode(b"\xff\xfe bytes.mp3"),
]
"""Names that are options, commands, patterns, two forms of one name, 240 bytes long, or no Unicode."""


def _no_files(folder: Path) -> dict[Path, Outcome]:
    """Make what has a name like a recording and is none; a loop of folders is found by nobody."""
    os.mkfifo(folder / "pipe.mp3")
    (folder / "nowhere.mp3").symlink_to(folder / "there is no such file")
    (folder / "itself.mp3").symlink_to(folder / "itself.mp3")
    (folder / "inside").mkdir()
    (folder / "inside/loop").symlink_to(folder, target_is_directory=True)
    (folder / "folder.mp3").mkdir()
    locked = folder / "locked.mp3"
    locked.write_bytes(b"ID3")
    locked.chmod(0)
    names = ("pipe.mp3", "nowhere.mp3", "itself.mp3")
    readable = os.access(locked, os.R_OK)  # to root everything is
    return {
        **{folder / name: {"NOT_A_FILE", "VANISHED"} for name in names},
        locked: GARBAGE if readable else {"UNREADABLE"},
    }


def _sound(folder: Path, suffix: str, *options: str, **more: int) -> bytes:
    file = noise(folder / f"making.{suffix}", *options, **more)
    content = file.read_bytes()
    file.unlink()
    return content


def _film(folder: Path) -> bytes:
    file = folder / "making.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=16x16:d=1:r=5", "-c:v", "mpeg4", str(file))
    content = file.read_bytes()
    file.unlink()
    return content


def _archive(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("inside.mp3", content)
    return out.getvalue()


def _tar(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        inside = tarfile.TarInfo("inside.aac")
        inside.size = len(content)
        archive.addfile(inside, io.BytesIO(content))
    return out.getvalue()


def _flipped(content: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(50):
        flipped[rng.randrange(1000, len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _riff(rate: int, channels: int, data: int) -> bytes:
    frame = channels * 2
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * frame) & 0xFFFFFFFF, frame & 0xFFFF, 16)
    size = (36 + data) & 0xFFFFFFFF
    return (
        b"RIFF"
        + struct.pack("<I", size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", data)
    )


if __name__ == "__main__":
    for path, outcome in sorted(make(Path(sys.argv[1])).items()):
        print(f"{path.name!r}: {', '.join(sorted(outcome))}")
