"""Write the sentences that the training and the evaluation of whisper-ko-demo speak: a JSON file of lists by name.

    python resources/models/scripts/write_sentences.py --out FILE [--grammar N] [--demo-rounds N] [--evaluated N]
        [--seed S]

"train" mixes sentences of the grammar, the demo's dialogues (many times, by other voices than the demo's recordings
have), and sentences of the demo's texts. "seen" and "unseen" are sentences of the grammar that training never has: for
voices that it knows, and for voices that it does not.
"""

import argparse
import json
import random
from pathlib import Path

from making import ROOT
from making.sentences import Grammar, clauses, dialogue_turns, distinct, speakable
from making.texts import demo_texts


def main() -> None:
    """Read the arguments, draw the sentences, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--grammar", type=int, default=12_000, help="sentences of the grammar")
    parser.add_argument("--demo-rounds", type=int, default=12, help="how often the dialogues' turns; 0: no demo at all")
    parser.add_argument("--evaluated", type=int, default=300, help="sentences of each evaluation")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    grammar = Grammar()
    turns = dialogue_turns(ROOT / "resources" / "demo" / "dialogues.yaml") if given.demo_rounds else []
    texts = speakable(demo_texts()) if given.demo_rounds else []
    drawn = distinct(grammar, given.seed, given.grammar, evaluation=False)
    parts = [part for sentence in drawn[::8] + turns for part in clauses(sentence) if part != sentence]
    train = [*drawn, *texts, *parts, *turns * given.demo_rounds]
    random.Random(given.seed).shuffle(train)
    evaluation = distinct(grammar, given.seed + 1, 2 * given.evaluated, evaluation=True, without=train)
    lists = {"train": train, "seen": evaluation[: given.evaluated], "unseen": evaluation[given.evaluated :]}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(lists, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print({name: len(sentences) for name, sentences in lists.items()})


if __name__ == "__main__":
    main()
