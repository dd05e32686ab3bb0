"""Make the demo's text sources: HPLT shards, web JSONL, news Parquet and a folder of notes, with planted faults.

Every document is composed from the sentences in ``writing/`` or is one of the essays there; nothing is taken from
anywhere else. The verdict that malgeul must reach on each record is written beside. The same arguments give the same
bytes with the same versions of pyarrow and zstandard.

    python resources/demo/make_documents.py [--out DIR] [--expected FILE] [--scale N] [--seed S]
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import io
import json
import random
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
import zstandard
from writing.frames import expand, frames_of, in_order, introduce, replace_file

HERE = Path(__file__).resolve().parent
GOOD_DOCUMENTS = 356
"""Good documents at scale 1."""
MIN_CHARS, MAX_CHARS = 300, 2500
"""Length of a good document."""
PII_EVERY = 12
"""One good document in so many gives a phone number, an e-mail address or a resident registration number."""
SEQUEL_EVERY = 5
"""One document in so many tells two stories one after the other, so that long ones are there too."""

FILES: dict[str, tuple[str, ...]] = {
    "hplt": ("kor_Hang_01.jsonl.zst", "kor_Hang_02.jsonl.zst"),
    "web": ("blogs.jsonl", "boards.jsonl", "portals.jsonl"),
    "news": ("2023.parquet", "2024.parquet"),
    "notes": ("사람", "마을", "여행/2023", "여행/2024"),
}
"""Files of each source; for the notes, folders."""
TURN = ("hplt", "web", "news", "hplt", "web", "news", "hplt", "web", "news", "notes")
"""Which source takes the next good document."""
NFD_NOTE = "마을/다섯 갈래 길"
"""Note whose name is stored decomposed, as macOS does."""


@dataclass(frozen=True)
class Topic:
    """What a family of documents is about: its words and its sentence frames by role."""

    name: str
    category: str
    about: list[str]
    orgs: list[str]
    places: list[str]
    roles: list[str]
    terms: dict[str, list[str]]
    opening: list[str]
    body: list[str]
    close: list[str]


@dataclass(frozen=True)
class Writing:
    """All the written material."""

    topics: list[Topic]
    voices: dict[str, list[str]]
    faults: dict[str, list[str]]
    essays: list[tuple[str, str]]
    family: list[str]
    given: list[str]
    coined: list[str]
    seasons: list[str]


@dataclass(frozen=True)
class Record:
    """One record of a source and the verdict that malgeul must reach on it."""

    source: str
    text: str | None
    verdict: str = "kept"
    reason: str | None = None
    title: str = ""
    category: str = ""
    file: str = ""
    id: str | None = None
    raw: bytes | None = None
    """The line or file itself, where it is broken."""
    fields: dict[str, Any] = field(default_factory=dict)
    """What the expected record says beside the verdict."""
    last: bool = False
    """Goes to the end of its file: it repeats a record that must come first."""


def read_writing(folder: Path) -> Writing:
    """Read the topics, voices, faults, essays and names."""

    def load(path: Path) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return content

    topics = []
    for path in sorted((folder / "topics").glob("*.yaml")):
        raw = load(path)
        topics.append(
            Topic(
                name=path.stem,
                **{key: raw[key] for key in ("category", "about", "orgs", "places", "roles", "terms")},
                opening=frames_of(raw["open"]),
                body=frames_of(raw["body"]),
                close=frames_of(raw["close"]),
            )
        )
    faults = {
        key: frames_of(block) if "\n" in block.strip() else block.split()
        for key, block in load(folder / "faults.yaml").items()
    }
    essays = []
    for path in sorted((folder / "essays").glob("*.txt")):
        title, _, text = path.read_text(encoding="utf-8").partition("\n")
        essays.append((title, text.strip()))
    names = {key: value.split() for key, value in load(folder / "names.yaml").items()}
    voices = {key: frames_of(block) for key, block in load(folder / "voices.yaml").items()}
    return Writing(topics, voices, faults, essays, **names)


def resident_number(rng: random.Random) -> str:
    """Return a resident registration number that cannot exist: a birth in 1900 to 1903 and a wrong check digit."""
    digits = f"{rng.randint(0, 3):02d}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"
    digits += f"{rng.choice('12')}{rng.randint(0, 99999):05d}"
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    check = (11 - sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % 11) % 10
    return f"{digits[:6]}-{digits[6:]}{(check + 5) % 10}"


def draw_words(topic: Topic, writing: Writing, rng: random.Random) -> dict[str, str]:
    """Return a cast for one document: people, organizations, places, terms, dates and contacts for every slot."""

    def organization(kind: str, name: str) -> str:
        return f"{name}{kind}" if len(kind) <= 2 else f"{name} {kind}"

    people = [
        f"{family}{given}"
        for family, given in zip(rng.sample(writing.family, 3), rng.sample(writing.given, 3), strict=True)
    ]
    names = rng.sample(writing.coined, 2)
    kinds = rng.sample(topic.orgs, 2)
    # The documents say where something is seen from Seoul; it cannot happen there as well.
    place = rng.choice([name for name in topic.places if name != "서울"])
    other = rng.choice([name for name in topic.places if name not in (place, "서울")])
    roles = rng.sample(topic.roles, 2)
    # Nine digits that begin 010-0000 are not given to anybody.
    phone = f"010-0000-{rng.randint(1000, 9999)}"
    words = {
        "P": people[0], "Q": people[1], "R": people[2],
        "Pr": roles[0], "Qr": roles[1], "Rr": "씨",
        "O": organization(kinds[0], names[0]), "U": organization(kinds[1], names[1]),
        "L": place, "M": other,
        "T": rng.choice(topic.about),
        "date": f"{rng.randint(1, 12)}월 {rng.randint(1, 28)}일",
        "month": f"{rng.randint(1, 12)}월",
        "year": str(rng.randint(1998, 2023)),
        "season": rng.choice(writing.seasons),
        "phone": phone,
        "mail": f"{topic.name.replace('_', '.')}{rng.randint(10, 99)}@example.com",
        "rrn": resident_number(rng),
    }  # fmt: skip
    return words | {key: rng.choice(values) for key, values in topic.terms.items()}


def repeated_names(text: str, words: dict[str, str]) -> list[str]:
    """Return the proper nouns of the cast that the text has at least twice."""
    return [words[key] for key in ("P", "Q", "R", "O", "U", "L", "M") if text.count(words[key]) >= 2]


def draft(topic: Topic, writing: Writing, rng: random.Random, with_contact: bool) -> tuple[str, str, dict[str, str]]:
    """Return title, text and cast of one composed document, which may turn out too short or too long."""
    words = draw_words(topic, writing, rng)
    voices = writing.voices
    body = in_order(topic.body, rng.randint(6, len(topic.body)), rng)
    asides = rng.sample(voices["bridge"], rng.randint(1, 4)) + rng.sample(voices["quote"], rng.randint(0, 3))
    asides += rng.sample(voices["critic"], rng.randint(0, 3))
    rng.shuffle(asides)
    paragraphs: list[list[str]] = [[rng.choice(topic.opening)]]
    per_paragraph = rng.randint(2, 4)
    while body:
        paragraphs[-1] += body[:per_paragraph]
        body = body[per_paragraph:]
        if asides:
            paragraphs[-1].append(asides.pop())
        if body:
            paragraphs.append([])
    paragraphs[-1] += asides
    if with_contact:
        paragraphs.append([rng.choice(voices["contact"])])
    paragraphs[-1].append(rng.choice(topic.close))
    seen: set[str] = set()
    joint = rng.choice(("\n", "\n\n"))
    text = joint.join(" ".join(expand(introduce(frame, seen), words, rng) for frame in frames) for frames in paragraphs)
    title = rng.choice(("{L}에서 만난 {T}", "{T}, {L}의 기록", "{O}의 {T} 이야기", "{L} {T} 현장"))
    return expand(title, words, rng), text, words


def compose(number: int, writing: Writing, seed: int, with_contact: bool = False) -> Record:
    """Return the composed document of this number: 300 to 2,500 characters, at least three proper nouns repeated."""
    topic = writing.topics[number % len(writing.topics)]
    has_sequel = number % SEQUEL_EVERY == SEQUEL_EVERY - 1
    for attempt in range(1000):
        rng = random.Random(f"{seed}/document/{number}/{attempt}")
        title, text, words = draft(topic, writing, rng, with_contact)
        if has_sequel:
            other = rng.choice([one for one in writing.topics if one is not topic])
            text = f"{text}\n\n{draft(other, writing, rng, with_contact=False)[1]}"
        if not MIN_CHARS <= len(text) <= MAX_CHARS or len(repeated_names(text, words)) < 3:
            continue
        if text.count(words["L"]) < 2 or text.count("서울") == 1:
            continue
        kinds = [kind for kind, key in (("phone", "phone"), ("email", "mail"), ("rrn", "rrn")) if words[key] in text]
        fields: dict[str, Any] = {"pii": kinds} if kinds else {}
        spans = [[text.index(words[k]), text.index(words[k]) + len(words[k])] for k in ("phone", "mail", "rrn")
                 if words[k] in text]  # fmt: skip
        return Record(
            "", text, title=title, category=topic.category, fields=fields | ({"spans": spans} if spans else {})
        )
    raise RuntimeError(f"topic {topic.name} gives no document that keeps the rules")


def good_documents(writing: Writing, count: int, seed: int) -> list[Record]:
    """Return the essays and so many composed documents that there are `count`; no text occurs twice."""
    records: list[Record] = []
    texts: set[str] = set()
    number = 0
    while len(records) < count:
        source = TURN[len(records) % len(TURN)]
        if len(records) < len(writing.essays):
            title, text = writing.essays[len(records)]
            record = Record(source, text, title=title, category="수필")
        else:
            record = replace(compose(number, writing, seed, number % PII_EVERY == 0), source=source)
            number += 1
        assert record.text is not None
        if record.text not in texts:
            texts.add(record.text)
            records.append(record)
    return records


# --- documents that the filter must turn away ---------------------------------------------------------------------


def sentences(writing: Writing, rng: random.Random, count: int) -> list[str]:
    """Return `count` plain sentences of one topic, in order, each ending with a full stop."""
    topic = rng.choice(writing.topics)
    words = draw_words(topic, writing, rng)
    # A digit group or a quotation may hold a full stop of its own; plain sentences have one, at the end.
    plain = [frame for frame in topic.body if frame.count(".") == 1 and frame.endswith(".")]
    seen: set[str] = set()
    return [expand(introduce(frame, seen), words, rng) for frame in in_order(plain, count, rng)]


def planted(writing: Writing, key: str, rng: random.Random, count: int) -> list[str]:
    """Return `count` sentences of the fault's own material, in random order."""
    words = draw_words(rng.choice(writing.topics), writing, rng)
    frames = writing.faults[key]
    return [expand(frame, words, rng) for frame in rng.sample(frames, min(count, len(frames)))]


def too_short(writing: Writing, rng: random.Random, _: int) -> str:
    """Fewer than 200 characters."""
    return "\n".join(planted(writing, "too_short", rng, 2))


def too_long(writing: Writing, rng: random.Random, number: int) -> str:
    """More than 100,000 characters of prose that repeats no line."""
    parts: list[str] = []
    length, at = 0, 0
    while length <= 101_000:
        text = compose(1_000_000 * (number + 1) + at, writing, rng.randint(0, 1 << 30)).text
        assert text is not None
        parts.append(text)
        length += len(text) + 2
        at += 1
    return "\n\n".join(parts)


def low_hangul(writing: Writing, rng: random.Random, number: int) -> str:
    """English or Chinese prose around a few Korean sentences, so that no later rule is broken as well."""
    key, foreign, own = (("english", 9, 3), ("chinese", 12, 2))[number % 2]
    korean = planted(writing, "korean_asides", rng, 1) + sentences(writing, rng, own)
    lines = planted(writing, key, rng, foreign)
    return "\n".join([*lines[:4], " ".join(korean), *lines[4:]])


def symbols(writing: Writing, rng: random.Random, _: int) -> str:
    """Prose whose words are wrapped in ornaments."""

    def ornament(word: str) -> str:
        left, right = rng.sample("★☆♥♡♪♬☎☀☁※◎♧♤", 2)
        return f"{left}{word}{right}" if len(word) < 5 else f"{left}{right}{word}{right}{left}"

    lines = sentences(writing, rng, 9)
    return "\n".join(" ".join(ornament(word) for word in line.split()) for line in lines)


def few_sentences(writing: Writing, rng: random.Random, _: int) -> str:
    """Prose without a single full stop, as in hurried notes."""
    return "\n".join(line.removesuffix(".") for line in sentences(writing, rng, 8))


def repeated_lines(writing: Writing, rng: random.Random, _: int) -> str:
    """A page whose boilerplate comes again after every paragraph."""
    frames = planted(writing, "boilerplate", rng, 5)
    return "\n".join("\n".join([sentence, *frames]) for sentence in sentences(writing, rng, 5))


def repeated_ngrams(writing: Writing, rng: random.Random, _: int) -> str:
    """Search bait: the same four words at the head of every line, no line twice."""
    words = draw_words(rng.choice(writing.topics), writing, rng)
    phrase = expand(rng.choice(writing.faults["phrases"]), words, rng)
    endings = [expand(frame, words, rng) for frame in rng.sample(writing.faults["phrase_endings"], 10)]
    return "\n".join(f"{phrase} {ending}" for ending in endings)


def repeated_characters(writing: Writing, rng: random.Random, number: int) -> str:
    """Chat with laughter, tears or rules drawn of one character."""
    mark = "ㅋㅠ=ㅎ"[number % 4]
    lines = [line if line[-1] in ".?!" else f"{line}." for line in planted(writing, "chat", rng, 10)]
    return "\n".join(f"{line} {mark * rng.randint(5, 9)}" for line in lines)


def few_stopwords(writing: Writing, rng: random.Random, _: int) -> str:
    """Slogans: verbs, but none of the particles that connected prose has."""
    lines = planted(writing, "slogans", rng, 40)
    return "\n".join(" ".join(lines[i : i + 4]) for i in range(0, len(lines), 4))


def bullet_lines(writing: Writing, rng: random.Random, number: int) -> str:
    """A list: every line begins with a bullet."""
    return "\n".join(f"{'-•·'[number % 3]} {line}" for line in sentences(writing, rng, 9))


def ellipsis_lines(writing: Writing, rng: random.Random, number: int) -> str:
    """Teasers: every other line is cut off with an ellipsis."""
    dots = ("...", "…")[number % 2]
    lines = sentences(writing, rng, 10)
    return "\n".join(line if i % 2 else line.removesuffix(".") + dots for i, line in enumerate(lines))


def spam_words(writing: Writing, rng: random.Random, _: int) -> str:
    """An advertisement for gambling in whole sentences."""
    return "\n".join(planted(writing, "spam", rng, 9))


def no_predicates(writing: Writing, rng: random.Random, _: int) -> str:
    """Nouns and particles with full stops, and not one predicate."""
    spots = rng.sample(writing.faults["places_of_salad"], 10)
    nouns = rng.sample(writing.faults["nouns_of_salad"], 40)
    words = {"L": rng.choice(writing.topics[0].places), "M": rng.choice(writing.topics[1].places)}
    lines = []
    for at, spot in enumerate(spots):
        words |= {"S": spot} | {key: nouns[at * 4 + i] for i, key in enumerate("ABCD")}
        shape = ("{L} {S}의 {A과} {B}, {C}.", "{M} {S}에서 {A}, {B과} {C}의 {D}.", "{A과} {B의} {S}, {L의} {D}.")[
            at % 3
        ]
        lines.append(expand(shape, words, rng))
    return "\n".join(lines)


@dataclass(frozen=True)
class FaultKind:
    """How many documents of a fault there are at scale 1, what makes one, and which sources take them in turn."""

    reason: str
    count: int
    make: Callable[[Writing, random.Random, int], str]
    sources: tuple[str, ...] = ("web", "hplt", "news", "notes")


REJECTED = (
    FaultKind("too_short", 5, too_short),
    FaultKind("too_long", 2, too_long, ("hplt",)),
    FaultKind("low_hangul", 4, low_hangul),
    FaultKind("symbols", 3, symbols),
    FaultKind("few_sentences", 4, few_sentences, ("notes", "web", "hplt", "news")),
    FaultKind("repeated_lines", 3, repeated_lines),
    FaultKind("repeated_ngrams", 3, repeated_ngrams),
    FaultKind("repeated_characters", 4, repeated_characters, ("web", "notes", "hplt")),
    FaultKind("few_stopwords", 3, few_stopwords),
    FaultKind("bullet_lines", 3, bullet_lines, ("notes", "web", "news")),
    FaultKind("ellipsis_lines", 3, ellipsis_lines, ("news", "web", "hplt")),
    FaultKind("spam_words", 3, spam_words, ("web", "hplt", "web")),
    FaultKind("no_predicates", 3, no_predicates, ("web", "hplt", "news")),
)
"""The faults that are rejected, in the order in which the filter asks."""


def rejected_documents(writing: Writing, scale: int, seed: int) -> list[Record]:
    """Return the documents that break one rule each."""
    records = []
    for kind in REJECTED:
        # Long documents are there to be met once; they would only make a larger corpus slow.
        count = kind.count if kind.reason == "too_long" else kind.count * scale
        for number in range(count):
            rng = random.Random(f"{seed}/{kind.reason}/{number}")
            records.append(
                Record(
                    kind.sources[number % len(kind.sources)],
                    kind.make(writing, rng, number),
                    verdict="rejected",
                    reason=kind.reason,
                    title=f"{kind.reason} {number + 1}",
                    category="기타",
                )
            )
    return records


# --- placing records in files --------------------------------------------------------------------------------------


def wide_spaced(text: str) -> str:
    """Return the text with other white space between its words, as a crawler leaves it."""
    return "  " + text.replace(" ", "  ").replace("\n\n", "\n \n").replace("\n", " \n") + "\n"


def duplicates(good: list[Record], scale: int) -> list[Record]:
    """Return copies of good documents, decomposed, spaced otherwise or unchanged, in the same and in other sources.

    The original comes first in its file, and its source comes first both by name and in the order of FILES.
    """
    plans: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("hplt", "web", lambda text: unicodedata.normalize("NFD", text)),
        ("hplt", "news", wide_spaced),
        ("news", "notes", str),
        ("hplt", "hplt", str),
        ("web", "web", wide_spaced),
        ("news", "news", lambda text: unicodedata.normalize("NFD", text)),
    )
    records = []
    for turn in range(scale):
        for number, (origin, target, change) in enumerate(plans):
            # Past the essays, and never the same original twice.
            pool = [record for record in good if record.source == origin][8 + turn * len(plans) :]
            original = pool[number]
            assert original.text is not None
            records.append(
                replace(
                    original,
                    source=target,
                    text=change(original.text),
                    verdict="rejected",
                    reason="duplicate",
                    id=None,
                    file=original.file if origin == target else "",
                    last=origin == target,
                    fields={"duplicate_of": f"{original.source}/{original.id}"},
                )
            )
    return records


def place(records: list[Record], offset: int = 0) -> list[Record]:
    """Return the records with their file and id; those of a source take its files in turn."""
    counts: dict[str, int] = dict.fromkeys(FILES, offset)
    placed = []
    for record in records:
        number = counts[record.source]
        counts[record.source] += 1
        name = record.file or FILES[record.source][number % len(FILES[record.source])]
        if record.source == "notes":
            stem = f"{name}/{record.title.replace('/', ' ')} {number + 1:03d}"
            placed.append(replace(record, file=f"{stem}.txt", id=stem))
            continue
        identity = {
            "hplt": hashlib.sha256(f"hplt/{number}".encode()).hexdigest()[:32],
            "web": f"web-{number + 1:05d}",
            "news": f"N{20230000 + number}",
        }[record.source]
        placed.append(replace(record, file=name, id=identity))
    return placed


def quarantined_records(good: list[Record], writing: Writing, seed: int) -> list[Record]:
    """Return the records that ingestion cannot read, placed; their material is of documents made for nothing else."""
    texts = [compose(500_000 + number, writing, seed).text or "" for number in range(12)]
    hplt, web, news = FILES["hplt"], FILES["web"], FILES["news"]

    def fault(reason: str, source: str, file: str, **rest: Any) -> Record:
        rest.setdefault("text", None)
        return Record(source, verdict="quarantined", reason=reason, file=file, title="", category="기타", **rest)

    def first_id(source: str, file: str) -> str | None:
        return next(record.id for record in good if record.source == source and record.file == file)

    whole = json.dumps({"id": "web-broken", "text": texts[0]}, ensure_ascii=False)
    cp949 = json.dumps({"id": "web-cp949", "text": texts[1]}, ensure_ascii=False).encode("cp949", "replace")
    hplt_cp949 = json.dumps({"text": texts[2], "id": "hplt-cp949"}, ensure_ascii=False).encode("cp949", "replace")
    return [
        fault("BROKEN_JSON", "web", web[0], raw=whole[: len(whole) // 2].encode()),
        fault("BROKEN_JSON", "web", web[2], raw=b"<html><body>502 Bad Gateway</body></html>"),
        fault("BROKEN_JSON", "hplt", hplt[0], raw=whole[:-1].encode()),
        fault("BROKEN_JSON", "hplt", hplt[1], raw=b'{"text": "'),
        fault("MISSING_FIELD", "web", web[1], id="web-no-text", raw=b'{"id": "web-no-text", "title": "-"}'),
        fault("MISSING_FIELD", "web", web[2], id="web-null", raw=b'{"id": "web-null", "text": null}'),
        fault("MISSING_FIELD", "hplt", hplt[0], id="hplt-no-text", raw=b'{"id": "hplt-no-text", "lang": ["kor_Hang"]}'),
        fault("MISSING_FIELD", "news", news[0], id="N-null"),
        fault("INVALID_UTF8", "web", web[1], raw=cp949),
        fault("INVALID_UTF8", "hplt", hplt[1], raw=hplt_cp949),
        fault("INVALID_UTF8", "notes", "사람/옛 문서.txt", id="사람/옛 문서", raw=texts[3].encode("cp949", "replace")),
        fault("DUPLICATE_ID", "web", web[0], id=first_id("web", web[0]), text=texts[4], last=True),
        fault("DUPLICATE_ID", "hplt", hplt[0], id=first_id("hplt", hplt[0]), text=texts[5], last=True),
        fault("DUPLICATE_ID", "news", news[1], id=first_id("news", news[1]), text=texts[6], last=True),
        fault("EMPTY_TEXT", "web", web[0], id="web-empty", text=""),
        fault("EMPTY_TEXT", "hplt", hplt[1], id="hplt-blank", text=" \n\t\u3000\n"),
        fault("EMPTY_TEXT", "news", news[1], id="N-blank", text="   "),
        fault("EMPTY_TEXT", "notes", "여행/2024/빈 쪽.txt", id="여행/2024/빈 쪽", raw=b""),
    ]


def all_records(writing: Writing, scale: int, seed: int) -> list[Record]:
    """Return every record of the demo, placed and in the order of its file."""
    good = place(good_documents(writing, GOOD_DOCUMENTS * scale, seed))
    note = next(i for i, record in enumerate(good) if record.source == "notes")
    good[note] = replace(good[note], file=f"{NFD_NOTE}.txt", id=NFD_NOTE)
    # Ids of later kinds go on where those of the good ones ended.
    bad = place(rejected_documents(writing, scale, seed) + duplicates(good, scale), offset=len(good))
    records = good + bad + quarantined_records(good, writing, seed)
    rng = random.Random(f"{seed}/order")
    rng.shuffle(records)
    order = {source: at for at, source in enumerate(FILES)}
    return sorted(records, key=lambda record: (order[record.source], record.file, record.last))


# --- writing -------------------------------------------------------------------------------------------------------


def hplt_line(record: Record, rng: random.Random) -> bytes:
    """Return the record as one line of HPLT's cleaned shards (version 2 fields)."""
    assert record.text is not None
    score = round(rng.uniform(6, 9.8), 1)
    line = {
        "text": record.text,
        "id": record.id,
        "u": f"https://example.com/{record.id}",
        "ts": f"2023-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}T{rng.randint(0, 23):02d}:00:00Z",
        "lang": ["kor_Hang", "eng_Latn", "jpn_Jpan"],
        "prob": [0.9931, 0.0042, 0.0011],
        "doc_scores": [score, *(round(rng.uniform(5, 10), 1) for _ in range(8))],
        "pii": record.fields.get("spans", []),
        "filter": "keep",
        "robots": "allowed",
        "seg_langs": ["kor_Hang"] * (record.text.count("\n") + 1),
    }
    return json.dumps(line, ensure_ascii=False).encode()


def web_line(record: Record) -> bytes:
    """Return the record as one line of a crawl's JSONL."""
    url = f"https://example.org/posts/{record.id}"
    line = {"id": record.id, "title": record.title, "text": record.text, "url": url}
    return json.dumps(line, ensure_ascii=False).encode()


def parquet_bytes(records: list[Record], rng: random.Random) -> bytes:
    """Return a Parquet file of news articles."""
    dates = [datetime.date(2023, 1, 1) + datetime.timedelta(days=rng.randint(0, 700)) for _ in records]
    table = pa.table(
        {
            "id": pa.array([record.id for record in records], pa.string()),
            "text": pa.array([record.text for record in records], pa.string()),
            "category": pa.array([record.category for record in records], pa.string()),
            "date": pa.array(dates, pa.date32()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=32)
    return sink.getvalue()


def file_bytes(source: str, records: list[Record], rng: random.Random) -> bytes:
    """Return the content of one file with these records."""
    if source == "notes":
        (record,) = records
        return record.raw if record.raw is not None else f"{record.text}\n".encode()
    if source == "news":
        return parquet_bytes(records, rng)
    lines = [
        record.raw if record.raw is not None else hplt_line(record, rng) if source == "hplt" else web_line(record)
        for record in records
    ]
    content = b"".join(line + b"\n" for line in lines)
    return zstandard.ZstdCompressor(level=19).compress(content) if source == "hplt" else content


def by_file(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """Return the records of each file of each source, in order."""
    files: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        files.setdefault((record.source, record.file), []).append(record)
    return files


def write_sources(files: dict[tuple[str, str], list[Record]], out: Path, seed: int) -> None:
    """Write every file under a folder beside `out`, then put it in its place."""
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    for (source, name), records in files.items():
        stored = unicodedata.normalize("NFD", name) if name == f"{NFD_NOTE}.txt" else name
        replace_file(beside / source / stored, file_bytes(source, records, random.Random(f"{seed}/{source}/{name}")))
    shutil.rmtree(out, ignore_errors=True)
    beside.replace(out)


def expected_lines(files: dict[tuple[str, str], list[Record]]) -> Iterable[str]:
    """Yield the expected verdicts, one JSON object a record; line counts from 1 and is a row number for Parquet."""
    for (source, name), records in files.items():
        for number, record in enumerate(records, start=1):
            line = {
                "source": source,
                "file": f"{source}/{name}",
                "line": None if source == "notes" else number,
                "id": record.id,
                "verdict": record.verdict,
                "reason": record.reason,
            }
            rest = {key: value for key, value in record.fields.items() if key != "spans"}
            yield json.dumps(line | rest, ensure_ascii=False)


def main() -> None:
    """Make the sources and the file with the expected verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "text", help="folder of the sources; replaced")
    parser.add_argument("--expected", type=Path, default=HERE / "expected" / "documents.jsonl")
    parser.add_argument("--scale", type=int, default=1, help="times as many documents")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.scale < 1:
        parser.error("--scale is at least 1")
    files = by_file(all_records(read_writing(HERE / "writing"), arguments.scale, arguments.seed))
    write_sources(files, arguments.out, arguments.seed)
    lines = list(expected_lines(files))
    replace_file(arguments.expected, "".join(f"{line}\n" for line in lines).encode())
    print(f"{len(lines)} records in {len(files)} files under {arguments.out}")


if __name__ == "__main__":
    main()
