"""Config of what several wings ask models for."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field, model_validator

from malgeul.shards.settings import Named, Section


class TextClassifier(Section):
    """A model that gives probabilities of labels: one with a classification head, or one that answers a question."""

    model: Named
    """Hub id or path."""
    revision: Named | None = None
    """Branch, tag or commit of a hub id."""
    quantization: Literal["int8", "int4"] | None = None
    """Load a copy of the model in so many bits a weight, made the first time: int8 by torchao, int4 (NF4) by
    bitsandbytes (pip install them; conda's environment has both). A copy is for processors and GPUs alike; a head keeps
    its bits."""
    adapter: Named | None = None
    """LoRA adapter (of peft) on the model: hub id or path. Classifiers of one model share it in memory."""
    adapter_revision: Named | None = None
    """Branch, tag or commit of the adapter's hub id."""
    question: str | None = None
    """For a model that writes (EXAONE, LLaMA): what it is asked, with {text} in it."""
    answers: dict[str, Named] = {}
    """With a question: what it would answer for each label. A label's probability is its answer's share of those of all
    answers."""
    longest: int = Field(512, ge=8)
    """Tokens of a text that the model sees at most; fewer where it takes fewer."""
    batch_tokens: int = Field(8192, ge=1)
    """Padded tokens of a batch."""

    @model_validator(mode="after")
    def _is_answered(self) -> TextClassifier:
        if self.question is not None and "{text}" not in self.question:
            raise ValueError("the question has no {text} in it")
        if (self.question is not None) != (len(self.answers) > 1):
            raise ValueError("a question needs two answers or more, and answers need a question")
        if alike := [answer for answer, count in Counter(self.answers.values()).items() if count > 1]:
            raise ValueError(f"two labels have the answer {alike[0]!r}, so that nothing tells them apart")
        return self

    @model_validator(mode="after")
    def _has_what_the_revision_is_of(self) -> TextClassifier:
        if self.adapter_revision is not None and self.adapter is None:
            raise ValueError("the key adapter_revision is read with an adapter alone; that of the model is revision")
        return self
