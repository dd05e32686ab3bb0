"""Whisper's rules for timestamps, over a whole batch at once (Radford et al. 2022; openai/whisper's decoding)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SECONDS_PER_TIMESTAMP = 0.02


@dataclass(frozen=True)
class TimestampRules:
    """Which tokens may follow which: ``begin`` is the first timestamp, every greater id is one.

    ``latest_begin`` is the latest timestamp, counted from the first, with which a window may begin.
    """

    begin: int
    end_of_text: int
    no_timestamps: int
    latest_begin: int | None

    def apply(self, logits: Tensor, made: Tensor) -> None:
        """Forbid in ``logits`` (n, tokens) what may not follow the tokens ``made`` (n, so far) after the prompt.

        Timestamps come in pairs, except before the end; they never go back; a window begins with one; and where all of
        them together are likelier than the likeliest text, the next token is one.
        """
        import torch

        never = float("-inf")
        logits[:, self.no_timestamps] = never
        if not made.shape[1]:
            logits[:, : self.begin] = never
            if self.latest_begin is not None:
                logits[:, self.begin + self.latest_begin + 1 :] = never
            return
        times = made >= self.begin
        after_time = times[:, -1]
        opened = after_time & (times[:, -2] if made.shape[1] > 1 else True)
        closed = after_time & ~opened
        logits[:, self.begin :].masked_fill_(opened[:, None], never)
        logits[:, : self.end_of_text].masked_fill_(closed[:, None], never)
        # A segment may not have the length 0: after its first timestamp the next one is later.
        latest = made.masked_fill(~times, self.begin - 1).amax(1)
        earliest = latest + (~closed).long()
        ids = torch.arange(self.begin, logits.shape[1], device=made.device)
        logits[:, self.begin :].masked_fill_(ids[None] < earliest[:, None], never)
        logs = logits.log_softmax(-1)
        likelier = logs[:, self.begin :].logsumexp(-1) > logs[:, : self.begin].amax(-1)
        logits[:, : self.begin].masked_fill_(likelier[:, None], never)
