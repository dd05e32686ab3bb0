"""What a header states is known of a file that was cut off, and nothing is invented where it states nothing."""

from __future__ import annotations

import os
import struct

import pytest

from malgeul.audio.durations import STATED, riff_seconds
from malgeul.shards.sources import opened
from unit.audio.conftest import noise

FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def test_a_wav_tells_its_duration_unless_its_header_leaves_it_open(tmp_path):
    file = noise(tmp_path / "a.wav", rate=8000)
    content = bytearray(file.read_bytes())
    with opened(str(file)) as source:
        assert riff_seconds(source) == pytest.approx(2)
    at = content.index(b"data") + 4
    for size in (0, 0xFFFFFFFF):
        content[at : at + 4] = struct.pack("<I", size)
        file.write_bytes(content)
        with opened(str(file)) as source:
            assert riff_seconds(source) is None


@pytest.mark.parametrize(("suffix", "container"), [("wav", "wav"), ("caf", "caf"), ("wma", "asf")])
def test_of_a_file_that_was_cut_off_the_duration_is_that_of_the_whole(suffix, container, tmp_path):
    file = noise(tmp_path / f"a.{suffix}", seconds=3)
    size = file.stat().st_size
    for left in (size, size // 2):
        os.truncate(file, left)
        with opened(str(file)) as source:
            assert STATED[container](source) == pytest.approx(3, abs=0.05)
    content = file.read_bytes()
    for left in range(0, 200, 7):  # the header itself is cut off
        file.write_bytes(content[:left])
        with opened(str(file)) as source:
            assert STATED[container](source) in (None, pytest.approx(3, abs=0.05))


@pytest.mark.parametrize(
    ("suffix", "container", "before", "skip", "value"),
    [
        ("caf", "caf", b"data", 0, struct.pack(">q", -1)),  # still recorded
        ("wma", "asf", FILE_PROPERTIES, 8 + 64, struct.pack("<I", 1)),  # a broadcast
    ],
)
def test_a_header_that_leaves_its_duration_open_states_none(suffix, container, before, skip, value, tmp_path):
    file = noise(tmp_path / f"a.{suffix}")
    content = bytearray(file.read_bytes())
    at = content.index(before) + len(before) + skip
    content[at : at + len(value)] = value
    file.write_bytes(content)
    with opened(str(file)) as source:
        assert STATED[container](source) is None


def test_chunks_without_end_end(tmp_path):
    file = tmp_path / "a.caf"
    file.write_bytes(b"caff\0\1\0\0" + struct.pack(">4sq", b"free", 0) * 5000)
    with opened(str(file)) as source:
        assert STATED["caf"](source) is None
