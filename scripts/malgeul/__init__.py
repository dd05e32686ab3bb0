"""malgeul: Korean recordings, raw text and document databases into training-ready data.

Packages by wing: ``audio`` and ``speech``, ``text`` and ``dataset``, ``embedding``, ``training``; ``models`` loads
weights and claims devices for them, ``shards`` is the house they live in (ledger, journal, locks, atomic files),
``pages`` is the look of what people read, ``report`` reads what they left. A wing imports these, never another wing;
the modules beside the packages (``config``, ``plan``, ``tasks``, …) know all wings. ``watch`` looks on from outside, at
a run and at the machine, with what ``report`` knows of the stages.
"""

from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parents[2]
"""The workflow's own folder: that of the Snakefile. What ships with it (models, lexicons) is found from here."""
