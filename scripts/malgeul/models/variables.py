"""Environment variables that users of such models set: which count here, and what replaces those that count no more."""

from __future__ import annotations

import os
from collections.abc import Mapping

_CACHE = "transformers 5 does not read it; the cache is where HF_HOME says (its folder hub)"

DROPPED = {
    "TRANSFORMERS_CACHE": _CACHE,
    "PYTORCH_TRANSFORMERS_CACHE": _CACHE,
    "PYTORCH_PRETRAINED_BERT_CACHE": _CACHE,
    "LOW_CPU_MEM_USAGE": "weights always load without a second copy in memory",
    "USE_SAFETENSORS": "weights are always safetensors; pickled ones are converted once",
    "LOAD_IN_8BIT": "`precision` of transcribe and embed says in what a model computes, `quantization` of a classifier "
    "how many bits its weights have",
    "LOAD_IN_4BIT": "`quantization` of a classifier says how many bits its weights have",
}
"""Variables that change nothing, and what does what they did."""

MEMORY_CAP = "MAX_MEMORY_GB"
"""How much memory of its device a job may use, in GiB."""


def answers(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a line for every variable that is set and changes nothing."""
    return [f"{name} is set and changes nothing: {why}" for name, why in DROPPED.items() if name in environment]


def memory_cap(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the bytes that MAX_MEMORY_GB allows, None where it is not set.

    Raises ValueError for what is no positive number.
    """
    given = environment.get(MEMORY_CAP, "").strip()
    if not given:
        return None
    try:
        cap = float(given)
    except ValueError:
        cap = 0.0
    if not 0 < cap < float("inf"):
        raise ValueError(f"{MEMORY_CAP}={given!r} is no number of gigabytes over 0")
    return int(cap * (1 << 30))
