"""How the filter's mentions agree with names that people marked: KLUE NER, persons, places and organizations.

    python bench/mentions.py FILE.tsv

FILE has a character and its tag (B-PS, I-PS, O) a line, an empty line between sentences. A mention is a proper noun
(NNP) of Kiwi of two characters or more; "joined" also joins those with nothing or a space between. bench/text.md holds
the figures.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

NAMES = {"PS": "persons", "LC": "places", "OG": "organizations"}
Span = tuple[int, int]


def read_sentences(file: Path) -> Iterator[tuple[str, dict[Span, str]]]:
    """Yield sentences with the spans [start, end) of their marked names and the kind of each."""
    for block in file.read_text(encoding="utf-8").split("\n\n"):
        lines = [line.split("\t") for line in block.split("\n") if "\t" in line and not line.startswith("##")]
        text = "".join(character for character, _ in lines)
        spans: dict[Span, str] = {}
        start = 0
        for at, (_, tag) in enumerate([*lines, ["", "O"]]):
            if at and lines[at - 1][1] != "O" and not tag.startswith("I-"):
                spans[start, at] = lines[at - 1][1][2:]
            if tag.startswith("B-"):
                start = at
        if text:
            yield text, spans


def joined(text: str, mentions: list[Span]) -> list[Span]:
    """Return mentions with neighbours joined that only a space or nothing parts."""
    found: list[Span] = []
    for start, end in mentions:
        if found and text[found[-1][1] : start] in {"", " "}:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def main() -> None:
    """Measure and print a table."""
    from malgeul.text.morphology import Analysis, MorphemeAnalyzer

    sentences = list(read_sentences(Path(sys.argv[1])))
    analyses = MorphemeAnalyzer(2, []).analyze(text for text, _ in sentences)
    wings: dict[str, list[tuple[set[Span], dict[Span, str]]]] = {"proper nouns": [], "joined": []}
    for (text, spans), analysis in zip(sentences, analyses, strict=True):
        assert isinstance(analysis, Analysis)
        mentions = [(mention["start"], mention["end"]) for mention in analysis.mentions]
        wings["proper nouns"].append((set(mentions), spans))
        wings["joined"].append((set(joined(text, mentions)), spans))
    kinds = " | ".join(f"{name} found" for name in NAMES.values())
    print(f"| mentions | of {len(sentences):,} sentences | are a marked name | lie in one | {kinds} |")
    print("|---|---|---|---|---|---|---|")
    for name, found in wings.items():
        total = sum(len(mentions) for mentions, _ in found)
        exact = sum(span in spans for mentions, spans in found for span in mentions)
        inside = sum(any(a <= s and e <= b for a, b in spans) for mentions, spans in found for s, e in mentions)
        recalls = []
        for kind in NAMES:
            marked = [(span in mentions) for mentions, spans in found for span, of in spans.items() if of == kind]
            recalls.append(f"{sum(marked) / len(marked):.1%} of {len(marked):,}")
        print(f"| {name} | {total:,} | {exact / total:.1%} | {inside / total:.1%} | {' | '.join(recalls)} |")


if __name__ == "__main__":
    main()
