"""What ffmpeg says of a file is read from its own lines only."""

from __future__ import annotations

import pytest

from malgeul.audio.listing import LONGEST_TAG, MOST_TAGS, AudioStream, Listing, count_channels

CALL = """\
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/proc/self/fd/5':
[info]   Metadata:
[info]     title           :   Duration: 99:00:00.00, start: 0
                    :   Stream #0:0: Audio: opus, 48000 Hz, stereo, fltp
[info]   Duration: 01:02:03.50, start: 0.000000, bitrate: 72 kb/s
[info]   Stream #0:0[0x1](kor): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, stereo, fltp, 69 kb/s (default)
[info]     Metadata:
[info]       handler_name    : SoundHandler
[info]       title           : the stream's, where the container has one
[info]   Stream #0:1[0x2](und): Audio: aac (LC) (mp4a / 0x6134706D), 8000 Hz, mono, fltp, 69 kb/s
[info]     Metadata:
[info]       handler_name    : another stream's
[info]   Stream #0:2[0x0]: Video: mjpeg (Baseline), yuvj420p, 500x500, 90k tbr, 90k tbn (attached pic)
[info]     Metadata:
[info]       title           : Album cover
[info]       comment         : Cover (front)
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (aac (native) -> pcm_s16le (native))
[info] Output #0, wav, to 'file:/tmp/o.wav':
[info]   Stream #0:0(und): Audio: pcm_s16le ([1][0][0][0] / 0x0001), 16000 Hz, stereo, s16, 512 kb/s (default)
[aac @ 0x55ab75262780] [error] Input buffer exhausted before END element found
[in#0/mov,mp4,m4a,3gp,3g2,mj2 @ 0x55ff854ce0c0] [warning] corrupt input packet in stream 0
"""


def listing_of(text: str) -> Listing:
    listing = Listing()
    for line in text.splitlines():
        listing.read(line)
    return listing


def test_the_listing_of_a_call_is_read():
    listing = listing_of(CALL)
    assert listing.container == "mov,mp4,m4a,3gp,3g2,mj2"
    assert listing.declared_seconds == 3723.5
    assert listing.audio == [AudioStream("aac", "mp4a", 44100, 2), AudioStream("aac", "mp4a", 8000, 1)]
    assert listing.has_others, "another stream of audio"
    assert listing.cut_off
    assert listing.tags == {
        "title": "  Duration: 99:00:00.00, start: 0\n  Stream #0:0: Audio: opus, 48000 Hz, stereo, fltp",
        "handler_name": "SoundHandler",
    }
    assert (listing.errors, listing.first_error) == (1, "Input buffer exhausted before END element found")


FIRST, PICTURE = "[info]   Stream #0:0: Audio: opus, 48000 Hz, mono", "mjpeg, 500x500 (attached pic)"


@pytest.mark.parametrize(
    ("others", "lasting"),
    [
        ([], False),
        (["Video: " + PICTURE, "Attachment: none"], False),
        (["Video: h264, yuv420p, 64x64"], True),
        (["Audio: opus, 48000 Hz, mono"], True),
        (["Subtitle: subrip (srt)"], True),
        (["Data: bin_data (text / 0x74786574)"], False),  # chapters
    ],
)
def test_streams_beside_the_first_may_last_longer_and_pictures_do_not(others, lasting):
    streams = [FIRST, *(f"[info]   Stream #0:{number}(kor): {what}" for number, what in enumerate(others, 1))]
    assert listing_of("\n".join(streams)).has_others is lasting


def test_a_title_that_imitates_a_line_is_not_taken_for_one():
    forged = "[info]     title           : x] [error] moov atom not found"
    assert listing_of(forged) == Listing()


PRINTED = (
    "[info] Stream mapping:\n[Eval @ 0x7f] [info] -1.000000\n[Eval @ 0x7f] [info] 0.000000\n[Eval @ 0x7f] [info] 5.25\n"
)


def test_gaps_are_read_until_the_kind_of_sound_changes():
    assert listing_of(PRINTED).gaps == [(0.0, 5.25)]
    changed = "[info] -1.000000\n[info] 0.000000\n[info] 9.000000\n"
    assert listing_of(PRINTED + "[info] 8.5\n[warning] odd\n[info] 0.75\n" + changed).gaps == [(0.0, 5.25), (8.5, 0.75)]
    assert listing_of(PRINTED + "[info] -2.000000\n[info] 8.5\n[info] 0.75\n").gaps == [(8.5, 0.75)], "taken back"
    assert listing_of(PRINTED + changed + "[info] -2.000000\n").gaps == [(0.0, 5.25)]
    assert listing_of(PRINTED.partition("\n")[2]).gaps == [], "what a file says of itself"


def test_of_tags_without_end_some_are_kept():
    goes_on = f"                    : {'x' * 2000}"
    many = ["[info]   Metadata:"]
    for k in range(1000):
        many += [f"[info]     t{k:<15}: {'x' * 900}", goes_on, f"[info]     t{k:<15}: again", goes_on]
    tags = listing_of("\n".join(["[info] Input #0, mp3, from 'x':", *many])).tags
    assert len(tags) == MOST_TAGS
    assert set(map(len, tags.values())) == {LONGEST_TAG}


@pytest.mark.parametrize("tag", ["drms / 0x736D7264", "enca / 0x61636E65", "aavd / 0x64766161"])
def test_a_tag_of_encrypted_audio_is_seen(tag):
    line = f"[info]   Stream #0:0[0x1](und): Audio: aac (LC) ({tag}), 44100 Hz, mono, fltp, 69 kb/s (default)"
    assert listing_of(line).encrypted
    assert not listing_of(CALL).encrypted


@pytest.mark.parametrize(
    ("layout", "channels"),
    [("mono", 1), ("stereo", 2), ("5.1(side)", 6), ("7.1", 8), ("3 channels", 3), ("quad", 4), ("7.1.4", 12), ("?", 0)],
)
def test_a_layout_tells_its_channels(layout, channels):
    assert count_channels(layout) == channels
