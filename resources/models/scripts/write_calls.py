"""Write the passages that an adapter learns voice phishing from: JSON lines with text, label and kind.

    python resources/models/scripts/write_calls.py --out FILE [--each N] [--seed S]

Half are phishing, half ordinary talk, of like lengths. No sentence of the demo's dialogues is among them: the demo
shows what the adapter makes of those.
"""

import argparse
import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from making import ROOT
from making.calls import Calls, draw
from making.sentences import dialogue_turns


def main() -> None:
    """Read the arguments, draw the passages, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--each", type=int, default=2000, help="passages of each label")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    calls, demo = Calls(), dialogue_turns(ROOT / "resources" / "demo" / "dialogues.yaml")
    drawn = draw(calls, given.seed, given.each, without=demo)
    random.Random(given.seed).shuffle(drawn)
    lines = [json.dumps(asdict(passage), ensure_ascii=False) for passage in drawn]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(dict(sorted(Counter(f"{passage.label} {passage.kind}" for passage in drawn).items())))


if __name__ == "__main__":
    main()
