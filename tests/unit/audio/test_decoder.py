"""Any container becomes 16 kHz PCM; what is broken, hostile or too much has a class and stops nobody."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from malgeul.audio import decoder
from malgeul.audio.decoder import Limits, command_line, decode, is_protected
from malgeul.audio.pcm import read_blocks, samples_of
from malgeul.audio.settings import AUDIO_SUFFIXES
from malgeul.shards.faults import ItemFault, is_transient
from malgeul.shards.locks import alive
from malgeul.shards.sources import opened
from unit.audio.conftest import ffmpeg, noise

LIMITS = Limits(recording=60, decoding=30)


def decoded(path, tmp_path, limits=LIMITS):
    with opened(str(path)) as source:
        return decode(source, tmp_path / "out.pcm", limits)


def kind_of(path, tmp_path, limits=LIMITS):
    with pytest.raises(ItemFault) as caught:
        decoded(path, tmp_path, limits)
    return caught.value.fault.kind


def endless(path: Path, seconds: int = 100_000) -> Path:
    """Write a WAV of silence that takes minutes to decode and no space."""
    size = seconds * 32_000
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", size)  # fmt: skip # noqa: E501
    path.write_bytes(head)
    os.truncate(path, size + len(head))
    return path


@pytest.mark.parametrize(
    "suffix",
    [
        *("m4a", "mp3", "ogg", "opus", "flac", "wav", "webm", "aac", "wma", "aiff", "mp4"),
        *("ac3", "asf", "au", "avi", "flv", "mpg", "w64", "wmv", "wv"),
    ],
)
def test_any_container_becomes_16_khz_pcm_of_16_bits(suffix, tmp_path):
    assert suffix in AUDIO_SUFFIXES, "a search finds it"
    file = noise(tmp_path / f"a.{suffix}", channels=2)
    result = decoded(file, tmp_path)
    with wave.open(str(tmp_path / "out.pcm")) as pcm:
        assert (pcm.getframerate(), pcm.getsampwidth(), pcm.getnchannels()) == (16000, 2, 2)
    assert result.seconds == pytest.approx(2, abs=0.1)
    assert result.missing_seconds == 0
    assert result.listing.audio[0].channels == 2


def test_a_wrong_suffix_does_not_matter(tmp_path):
    file = noise(tmp_path / "a.flac").rename(tmp_path / "a.mp3")
    assert decoded(file, tmp_path).listing.container == "flac"


def test_more_than_two_channels_become_two(tmp_path):
    file = noise(tmp_path / "a.wav", channels=6)
    assert decoded(file, tmp_path).listing.audio[0].channels == 6
    with wave.open(str(tmp_path / "out.pcm")) as pcm:
        assert pcm.getnchannels() == 2


@pytest.mark.parametrize(("layout", "centre"), [("3.0", 2), ("5.1", 2), ("7.1", 2)])
@pytest.mark.parametrize("sample", ["s16", "flt"])
def test_a_voice_in_the_centre_of_many_channels_is_as_loud_on_both_sides(layout, centre, sample, tmp_path):
    file = tmp_path / "a.wav"
    voice = f"sine=440:d=1:r=16000,aformat=sample_fmts={sample},pan={layout}|c{centre}=4*c0"
    codec = {"s16": "pcm_s16le", "flt": "pcm_f32le"}[sample]
    ffmpeg("-f", "lavfi", "-i", voice, "-c:a", codec, str(file))
    decoded(file, tmp_path)
    peaks = np.concatenate([samples_of(block) for block in read_blocks(tmp_path / "out.pcm")]).max(axis=0)
    assert peaks / 32768 == pytest.approx([0.5 * 0.5**0.5] * 2, abs=0.002)


def test_what_lies_above_8_khz_does_not_fold_into_speech(tmp_path):
    file = tmp_path / "a.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=12000:d=2:r=44100", "-af", "volume=4", str(file))
    decoded(file, tmp_path)
    inner = np.concatenate([samples_of(block) for block in read_blocks(tmp_path / "out.pcm")])[1600:-1600]
    assert np.abs(inner).max() <= 2, "at most -84 dBFS"


def test_a_missing_index_is_truncated(tmp_path, m4a):
    file = tmp_path / "a.m4a"
    moov = m4a.index(b"moov") - 4
    file.write_bytes(m4a[:moov] + m4a[moov + struct.unpack(">I", m4a[moov : moov + 4])[0] :])
    assert kind_of(file, tmp_path) == "TRUNCATED"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "aiff", "webm", "m4a"])
def test_a_file_cut_off_in_its_header_is_truncated(suffix, tmp_path):
    file = noise(tmp_path / f"a.{suffix}")
    os.truncate(file, 30)
    assert kind_of(file, tmp_path) == "TRUNCATED"


@pytest.mark.parametrize("suffix", ["m4a", "mp3", "flac", "wav", "webm", "caf", "wma"])
def test_a_file_cut_off_later_is_salvaged_and_says_how_much_is_missing(suffix, tmp_path, m4a):
    file = tmp_path / f"a.{suffix}"
    if suffix == "m4a":
        file.write_bytes(m4a)
    else:
        noise(file, seconds=4)
    os.truncate(file, file.stat().st_size // 2)
    result = decoded(file, tmp_path)
    assert result.declared_seconds == pytest.approx(4, abs=0.05)
    assert 0.5 < result.seconds < 3.4
    assert result.missing_seconds == pytest.approx(result.declared_seconds - result.seconds)


def test_a_film_that_goes_on_after_its_sound_misses_nothing(tmp_path):
    file = tmp_path / "a.mp4"
    video, audio = ("-f", "lavfi", "-i", "testsrc=d=4:s=64x64"), ("-f", "lavfi", "-i", "sine=d=2")
    ffmpeg(*video, *audio, str(file))
    assert decoded(file, tmp_path).missing_seconds == 0


SHORT, LONG = ("-f", "lavfi", "-i", "sine=d=2"), ("-f", "lavfi", "-i", "sine=d=5:f=880")


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libopus"), ("mp4", "aac")])
def test_another_stream_that_is_longer_is_nothing_that_is_missing(suffix, codec, tmp_path):
    file = tmp_path / f"a.{suffix}"
    ffmpeg(*SHORT, *LONG, "-map", "0", "-map", "1", "-c:a", codec, str(file))
    result = decoded(file, tmp_path)
    assert (result.seconds, result.missing_seconds) == (pytest.approx(2, abs=0.05), 0)


def test_subtitles_that_go_on_after_the_sound_are_nothing_that_is_missing(tmp_path):
    (tmp_path / "a.srt").write_text("1\n00:00:08,000 --> 00:00:09,000\n네\n", encoding="utf-8")
    ffmpeg(*SHORT, "-i", str(tmp_path / "a.srt"), "-map", "0", "-map", "1", str(tmp_path / "a.mkv"))
    assert decoded(tmp_path / "a.mkv", tmp_path).missing_seconds == 0


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_of_a_file_with_several_streams_that_was_cut_off_something_is_missing(suffix, tmp_path):
    file = tmp_path / f"a.{suffix}"
    movflags = ("-movflags", "+faststart") if suffix == "mp4" else ()
    ffmpeg(*LONG, *LONG, "-map", "0", "-map", "1", *movflags, str(file))
    os.truncate(file, file.stat().st_size // 2)
    assert 1.5 < decoded(file, tmp_path).missing_seconds < 4


@pytest.mark.parametrize("suffix", ["mka", "opus", "wma", "m4a", "ogg", "flv", "mpg"])
def test_sound_whose_times_begin_late_misses_nothing(suffix, tmp_path):
    file = noise(tmp_path / f"whole.{suffix}", seconds=4, rate=44_100)
    ffmpeg("-itsoffset", "3", "-i", str(file), "-c", "copy", str(tmp_path / f"a.{suffix}"))
    result = decoded(tmp_path / f"a.{suffix}", tmp_path)
    assert (result.seconds, result.missing_seconds) == (pytest.approx(4, abs=0.1), 0)
    assert result.declared_seconds == pytest.approx(4, abs=0.3)


def loud(tmp_path):
    """Tell of every tenth of a second of what was decoded whether it holds sound."""
    (samples,) = (samples_of(block)[:, 0] for block in read_blocks(tmp_path / "out.pcm"))
    tenths = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
    return (np.abs(tenths).max(axis=1) > 50).tolist()


def repacked(tmp_path, change):
    """Return four seconds of noise in packets of 20 ms, after ffmpeg's bitstream filter ``change``."""
    noise(tmp_path / "whole.webm", seconds=4, rate=48_000)
    ffmpeg("-i", str(tmp_path / "whole.webm"), "-c", "copy", "-bsf:a", change, str(tmp_path / "a.webm"))
    return tmp_path / "a.webm"


def test_packets_that_were_lost_are_silence_and_what_follows_keeps_its_time(tmp_path):
    result = decoded(repacked(tmp_path, r"noise=drop=between(n\,50\,149)"), tmp_path)
    assert result.seconds == pytest.approx(4, abs=0.05)
    assert result.missing_seconds == pytest.approx(2, abs=0.05)
    heard = loud(tmp_path)
    assert all(heard[:9])
    assert not any(heard[11:29])
    assert all(heard[31:39])


def test_sound_that_begins_after_its_film_keeps_its_time_and_misses_nothing(tmp_path):
    video, audio = ("-f", "lavfi", "-i", "testsrc=d=4:s=64x64"), ("-itsoffset", "2", "-f", "lavfi", "-i", "sine=d=2")
    ffmpeg(*video, *audio, str(tmp_path / "a.mp4"))
    result = decoded(tmp_path / "a.mp4", tmp_path)
    assert (result.seconds, result.missing_seconds) == (pytest.approx(4, abs=0.05), 0)
    heard = loud(tmp_path)
    assert not any(heard[:19])
    assert all(heard[21:39])


@pytest.mark.parametrize("times", ["TS+7200000", "TS-1500", r"TS-1500+gt(N\,150)*1000"])
def test_times_that_jump_far_or_run_back_cost_no_sample(times, tmp_path):
    result = decoded(repacked(tmp_path, rf"setts=ts=if(gt(N\,99)\,{times}\,TS)"), tmp_path)
    assert result.seconds == pytest.approx(4, abs=0.05)
    assert all(loud(tmp_path)[:39])


@pytest.mark.parametrize("jump", [0.6, 60])
def test_a_part_with_wrong_times_moves_nothing_that_follows_and_hides_no_gap(jump, tmp_path):
    whole = repacked(tmp_path, r"noise=drop=between(n\,100\,149)")
    ffmpeg("-i", str(whole), "-c", "copy", "-cluster_time_limit", "500", str(tmp_path / "parts.webm"))
    content = bytearray((tmp_path / "parts.webm").read_bytes())
    second = content.index(b"\xe7\x82", content.index(b"\x1fC\xb6u")) + 2  # the time of a cluster, in ms
    [time] = struct.unpack_from(">H", content, second)
    struct.pack_into(">H", content, second, time + round(1000 * jump))
    whole.write_bytes(content)
    result = decoded(whole, tmp_path)
    assert result.gaps == [(pytest.approx(2, abs=0.05), pytest.approx(1, abs=0.05))]
    assert result.seconds == pytest.approx(4, abs=0.05)


@pytest.mark.parametrize("suffix", ["amr", "3gp"])
def test_pauses_that_a_mobile_phone_does_not_send_are_pauses(suffix, tmp_path):
    """Three seconds of tone in twelve; in between frames that describe noise, now and then, and no others."""
    tone = "0.5*sin(2*PI*440*t)*between(mod(t\\,4)\\,1\\,2)"
    file = tmp_path / f"a.{suffix}"
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc={tone}:d=12:s=8000", "-c:a", "libopencore_amrnb", "-dtx", "1", str(file))
    result = decoded(file, tmp_path)
    assert (result.seconds, result.missing_seconds) == (pytest.approx(12, abs=0.1), 0)
    assert result.listing.errors == 0
    first = next(samples_of(block)[:, 0] for block in read_blocks(tmp_path / "out.pcm"))
    seconds = first[: 8 * 16_000].reshape(8, 16_000)[:, 4000:12_000]
    assert (np.abs(seconds).max(axis=1) > 5000).astype(int).tolist() == [0, 1, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("codec", ["amrnb", "amrwb"])
def test_damage_of_a_mobile_phones_call_is_told_also_by_the_decoder_that_knows_pauses(codec, tmp_path):
    """It takes any frame, so that it says nothing itself."""
    head, frame, pause, damaged = {
        "amrnb": (b"#!AMR\n", b"\x3c" + 31 * b"\x55", b"\x7c", b"\x5c"),
        "amrwb": (b"#!AMR-WB\n", b"\x44" + 60 * b"\x55", b"\x7c", b"\x64"),
    }[codec]
    file = tmp_path / "a.amr"
    for between, told in ((pause, False), (damaged, True)):
        file.write_bytes(head + 50 * frame + 20 * between + 50 * frame)
        assert (decoded(file, tmp_path).listing.errors > 0) is told


def test_chapters_do_not_hide_that_the_end_is_missing(tmp_path):
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/1\nSTART={k}\nEND={k + 2}\ntitle={k}\n" for k in (0, 2))
    (tmp_path / "chapters").write_text(f";FFMETADATA1\n{chapters}", encoding="utf-8")
    file = tmp_path / "a.m4a"
    given = ("-f", "lavfi", "-i", "anoisesrc=d=4:a=0.3", "-i", str(tmp_path / "chapters"))
    ffmpeg(*given, "-map", "0", "-map_metadata", "1", "-movflags", "+faststart", str(file))
    assert decoded(file, tmp_path).missing_seconds == 0
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    assert 1.5 < decoded(file, tmp_path).missing_seconds < 3


def test_gaps_count_for_the_length_of_a_recording(tmp_path):
    file = repacked(tmp_path, r"noise=drop=between(n\,50\,149)")
    assert kind_of(file, tmp_path, Limits(recording=3, decoding=30)) == "TOO_LONG"


def test_a_duration_that_ffmpeg_estimates_is_not_taken_for_declared(tmp_path):
    file = noise(tmp_path / "a.mp3", "-write_xing", "0")
    assert decoded(file, tmp_path).declared_seconds is None


def test_video_without_audio_is_no_audio(tmp_path):
    file = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", str(file))
    assert kind_of(file, tmp_path) == "NO_AUDIO"


def test_a_playlist_cannot_open_another_file(tmp_path):
    noise(tmp_path / "secret.wav")
    for name, text in {
        "a.m4a": "ffconcat version 1.0\nfile secret.wav\n",
        "b.m4a": f"#EXTM3U\n#EXTINF:2,\nfile:{tmp_path}/secret.wav\n",
        "c.m4a": "회의록: 이것은 글이다.\n",
        "d.mp3": bytes(range(256)).hex() * 40,
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert kind_of(tmp_path / name, tmp_path) == "NOT_AUDIO", name


@pytest.mark.parametrize("tag", [b"drms", b"enca"])
def test_a_tag_of_drm_is_encrypted(tag, tmp_path, m4a):
    file = tmp_path / "a.m4a"
    file.write_bytes(m4a.replace(b"mp4a", tag))
    assert kind_of(file, tmp_path) == "ENCRYPTED"


def test_common_encryption_is_encrypted_although_its_tag_is_hidden(tmp_path):
    file = tmp_path / "a.mp4"
    key = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")
    noise(file, "-encryption_scheme", "cenc-aes-ctr", *key)
    assert kind_of(file, tmp_path) == "ENCRYPTED"


def test_the_boxes_of_encryption_are_found_across_the_blocks_of_a_large_file(tmp_path):
    file = tmp_path / "a.mp4"
    for shift in range(-4, 4):
        at = (1 << 20) + shift
        content = bytearray(b"\0\0\0\x18ftypM4A " + bytes(3 << 20))
        content[at : at + 8] = b"encasinf"
        file.write_bytes(content)
        with opened(str(file)) as source:
            assert is_protected(source), shift


def test_a_file_without_a_sample_is_undecodable(tmp_path):
    file = tmp_path / "a.wav"
    with wave.open(str(file), "wb") as empty:
        empty.setparams((1, 2, 16000, 0, "NONE", ""))
    assert kind_of(file, tmp_path) in {"UNDECODABLE", "TRUNCATED"}


def test_a_recording_over_the_limit_is_too_long_and_not_decoded_to_its_end(tmp_path):
    assert kind_of(endless(tmp_path / "a.wav"), tmp_path, Limits(recording=2, decoding=30)) == "TOO_LONG"
    assert (tmp_path / "out.pcm").stat().st_size < 200_000


def test_two_channels_as_long_as_the_limit_are_decoded_whole(tmp_path):
    file = noise(tmp_path / "a.wav", seconds=4, channels=2)
    assert decoded(file, tmp_path, Limits(recording=4, decoding=30)).seconds == 4


def test_a_decoder_that_takes_too_long_is_ended(tmp_path):
    file = endless(tmp_path / "a.wav")
    assert kind_of(file, tmp_path, Limits(recording=1e5, decoding=0.2)) == "TIMEOUT"


def test_a_full_disk_is_a_fault_of_the_machine(tmp_path):
    file = noise(tmp_path / "a.wav")
    with opened(str(file)) as source, pytest.raises(OSError, match="No space left") as caught:
        decode(source, Path("/dev/full"), LIMITS)
    assert caught.value.errno == errno.ENOSPC
    assert is_transient(caught.value)


def test_a_decoder_that_the_kernel_kills_is_a_fault_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(decoder, "_run", lambda *_: (-signal.SIGKILL, True))
    with pytest.raises(MemoryError):
        decoded(noise(tmp_path / "a.wav"), tmp_path)


def test_ffmpeg_is_given_neither_a_name_nor_a_network(tmp_path):
    command = command_line(5, tmp_path / "-y.wav", LIMITS)
    assert command[command.index("-i") + 1] == "file:/proc/self/fd/5"
    assert command[command.index("-protocol_whitelist") + 1] == "file"
    allowed = command[command.index("-format_whitelist") + 1].split(",")
    assert not set(allowed) & {"concat", "hls", "dash", "sdp", "rtsp", "image2", "lavfi", "tedcaptions"}
    assert command[-1].startswith("file:/")


def test_a_job_with_tighter_bounds_of_its_own_can_still_decode(tmp_path):
    """Clusters bound the memory of a job."""
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from malgeul.audio.decoder import Limits, decode\n"
        "from malgeul.shards.sources import opened\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "with opened(sys.argv[1]) as source: decode(source, Path(sys.argv[2]), Limits(1e5, 60))\n"
    )
    command = [sys.executable, "-c", script, str(noise(tmp_path / "a.wav")), str(tmp_path / "o.pcm")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, env=environment, check=True, timeout=60)


def test_signals_at_the_whole_group_are_answered_by_the_job_and_cost_no_recording(tmp_path):
    """A script that starts a run with & has Ctrl-C ignored by the job; ffmpeg would end by it, with status 255."""
    file = endless(tmp_path / "a.wav", seconds=1_000)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(decoded, file, tmp_path, Limits(1e5, 300))
        wait_for(lambda: (tmp_path / "out.pcm").exists())
        (child,) = (int(pid) for task in Path("/proc/self/task").iterdir() for pid in _children(task))
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
            os.kill(child, number)
        assert result.result().seconds == 1_000


def test_while_a_run_is_stopped_by_ctrl_z_no_time_passes_for_its_decoders(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from malgeul.audio.decoder import Limits, decode\n"
        "from malgeul.shards.sources import opened\n"
        "with opened(sys.argv[1]) as source: print(decode(source, Path(sys.argv[2]), Limits(1e5, 4)).seconds)\n"
    )
    command = [sys.executable, "-c", script, str(endless(tmp_path / "a.wav", 500)), str(tmp_path / "o.pcm")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, process_group=0) as job:
        wait_for(lambda: (tmp_path / "o.pcm").exists())
        os.killpg(job.pid, signal.SIGSTOP)
        time.sleep(4.5)
        os.killpg(job.pid, signal.SIGCONT)
        assert job.stdout.read() == "500.0\n"


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def test_a_decoder_dies_with_the_job_that_started_it(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from malgeul.audio.decoder import Limits, decode\n"
        "from malgeul.shards.sources import opened\n"
        "with opened(sys.argv[1]) as source: decode(source, Path(sys.argv[2]), Limits(1e5, 1e3))\n"
    )
    command = [sys.executable, "-c", script, str(endless(tmp_path / "a.wav")), str(tmp_path / "o.pcm")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment) as job:
        wait_for(lambda: (tmp_path / "o.pcm").exists())
        (child,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGSTOP)  # so that it does not end by itself
        job.kill()
    try:
        wait_for(lambda: not alive(int(child)), seconds=5)
    except AssertionError:
        os.kill(int(child), signal.SIGKILL)
        raise


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found
