"""Models that give probabilities of labels for texts, with LoRA adapters that share one base in memory.

A model with a classification head (BERT, ELECTRA, …) gives them itself. One that writes (EXAONE, LLaMA, …) is asked a
question, and each label's answer is weighed by its likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.models.adapters import ADAPTER_WEIGHTS, head_size, holds, labels_of, put_on, several
from malgeul.models.devices import Device
from malgeul.models.loading import folder_of, identity, load_once_more, measured_load, quiet_transformers
from malgeul.models.memory import Batcher, DoesNotFit, plan_batches
from malgeul.models.positions import longest_input
from malgeul.models.settings import TextClassifier
from malgeul.models.weights import load_model
from malgeul.shards.ledger import Ledger

if TYPE_CHECKING:
    from torch import Tensor

Probabilities = list[float]
"""One per label, in the order of the labels."""


def identity_of(classifier: TextClassifier) -> dict[str, Any]:
    """Return what names the content of a classifier's model and adapter."""
    base = identity(classifier.model, classifier.revision)
    if classifier.quantization:
        base["quantization"] = classifier.quantization
    if classifier.adapter is None:
        return base
    return {**base, "adapter": identity(classifier.adapter, classifier.adapter_revision)}


def load_classifiers(
    settings: Mapping[str, TextClassifier], device: Device, threads: int, ledger: Ledger
) -> dict[str, Classifier]:
    """Load classifiers by name; those of one model share its weights, each with its own adapter.

    What loading took goes into the ledger.
    """
    bases: dict[tuple[object, ...], Base] = {}
    loaded = {}
    for name, wanted in settings.items():
        folder = folder_of(wanted.model, wanted.revision, quantization=wanted.quantization)
        adapter = folder_of(wanted.adapter, wanted.adapter_revision) if wanted.adapter else None
        writes = wanted.question is not None
        count = head_size(adapter) if adapter and not writes else None
        key = (folder, writes, count, adapter is None)
        if key not in bases:
            with measured_load(ledger, folder, device):
                bases[key] = load_once_more(lambda f=folder, w=writes, n=count: Base(f, device, threads, w, n))  # type: ignore[misc]
        loaded[name] = Classifier(bases[key], wanted, adapter)
    return loaded


class Base:
    """A model on one device, with the adapters that were put on it."""

    def __init__(self, folder: Path, device: Device, threads: int, writes: bool, labels: int | None = None) -> None:
        import torch
        from transformers import AutoTokenizer

        quiet_transformers()
        torch.set_num_threads(threads)
        self.torch = torch
        self.folder, self.writes = folder, writes
        self.device = device.place
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        if self.tokenizer.pad_token is None:  # those that write have none
            self.tokenizer.pad_token = self.tokenizer.eos_token
        # Not float16, in which models of the DeBERTa kind overflow.
        brain = device.kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if brain else "float32"
        head: dict[str, Any] = {"num_labels": labels, "ignore_mismatched_sizes": True} if labels else {}
        loaded = load_model("write" if writes else "classify", folder, device, precision=precision, **head)
        self._drawn = loaded.drawn
        self.model = loaded.model
        self.config = self.model.config
        self.config.pad_token_id = self.tokenizer.pad_token_id
        self.dtype = self.model.dtype
        self._adapters: dict[Path, str] = {}

    def put_on(self, adapter: Path | None) -> None:
        """Load an adapter; raises ValueError for one of another base, and for weights that neither has."""
        if adapter is None and self._drawn:
            raise ValueError(
                f"{self.folder} has no weights for {', '.join(sorted(self._drawn))}: it is no classifier, or it needs "
                "the adapter that was trained on it"
            )
        if adapter is None or adapter in self._adapters:
            return
        if not (adapter / ADAPTER_WEIGHTS).is_file():
            raise ValueError(f"{adapter} has no {ADAPTER_WEIGHTS}; is it an adapter of peft?")
        lacking = {key for key in self._drawn if not holds(adapter, key)}
        if lacking:
            raise ValueError(f"neither {self.folder} nor {adapter} has weights for {', '.join(sorted(lacking))}")
        name = f"adapter_{len(self._adapters)}"
        self.model = put_on(self.model, adapter, name).eval()
        self._adapters[adapter] = name

    def use(self, adapter: Path | None) -> None:
        """Make an adapter that was put on the one that counts, or none: no weights are loaded."""
        if adapter is not None:
            self.model.set_adapter(self._adapters[adapter])
        elif self._adapters:
            raise ValueError("a model with adapters is asked without one; give it a name of its own")

    def __call__(self, ids: Sequence[list[int]], last: int | None = None) -> Tensor:
        """Return the logits of a batch; with ``last`` those of the last positions, padding being on the left."""
        side = "left" if last else "right"
        padded = self.tokenizer.pad({"input_ids": list(ids)}, return_tensors="pt", padding_side=side).to(self.device)
        given = {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"]}
        if last:
            places = (given["attention_mask"].cumsum(1) - 1).clamp(min=0)
            given |= {"position_ids": places, "logits_to_keep": last, "use_cache": False}
        with self.torch.inference_mode():
            logits: Tensor = self.model(**given).logits.float()
        return logits


class Classifier:
    """A base with one adapter, or none, and its labels.

    Labels exclude each other (softmax), unless the model's config says multi_label_classification or there is one.
    """

    def __init__(self, base: Base, settings: TextClassifier, adapter: Path | None) -> None:
        base.put_on(adapter)
        self._base, self._adapter, self._settings = base, adapter, settings
        own = labels_of(adapter) if adapter else None
        named = own or [str(base.config.id2label[k]) for k in range(len(base.config.id2label))]
        self.labels = list(settings.answers) or named
        # An adapter was trained with a head of its own: what its config says of it counts, where it has one.
        told = several(adapter) if adapter and own else several(base.folder)
        self._independent = bool(told) or len(self.labels) == 1
        self._batches: Batcher[Any, Probabilities] = Batcher(self._asked if base.writes else self._judged, "text")

    def __call__(self, texts: Sequence[str]) -> list[Probabilities | DoesNotFit]:
        """Return the probabilities of the labels for each text, in order; the longest are computed first.

        DoesNotFit stands in the place of a text that does not fit into memory alone. Raises ValueError when the model
        gives what is no number.
        """
        self._base.use(self._adapter)
        ids = self._question_ids(texts) if self._base.writes else self._text_ids(texts)
        found: list[Probabilities | DoesNotFit] = [[] for _ in texts]
        budget = self._settings.batch_tokens // max(1, len(self._settings.answers))
        for batch in plan_batches([len(one) for one in ids], budget, padded=True):
            for number, chances in zip(batch, self._batches([ids[k] for k in batch]), strict=True):
                if not isinstance(chances, DoesNotFit) and not all(map(math.isfinite, chances)):
                    raise ValueError(
                        f"{self._settings.model} gave {chances[0]} for a text; does it compute in {self._base.dtype}?"
                    )
                found[number] = chances
        return found

    @property
    def room(self) -> int:
        """How many tokens, special ones counted, a text may have to be seen whole."""
        if not self._base.writes:
            return self._longest()
        asked = len(self._templated((self._settings.question or "").replace("{text}", "")))
        room = self._longest() - asked - max(len(answer) for answer in self._answer_ids())
        if room < 1:
            raise ValueError(f"the question leaves no room for a text within {self._longest()} tokens")
        return room

    def count(self, text: str) -> int:
        """Return the number of tokens of a text as :attr:`room` counts them."""
        return len(self._base.tokenizer(text, add_special_tokens=not self._base.writes, verbose=False)["input_ids"])

    def _longest(self) -> int:
        tokenizer = int(self._base.tokenizer.model_max_length)
        return min(self._settings.longest, tokenizer, longest_input(self._base.config.to_dict()) or tokenizer)

    def _text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self._base.tokenizer(list(texts), truncation=True, max_length=self._longest())[
            "input_ids"
        ]
        return ids

    def _judged(self, ids: Sequence[list[int]]) -> list[Probabilities]:
        logits = self._base(ids)
        chances = logits.sigmoid() if self._independent else logits.softmax(1)
        found: list[Probabilities] = chances.tolist()
        return found

    def _question_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the question about each text; the text is cut so that nothing of the question is lost."""
        tokenizer, question = self._base.tokenizer, self._settings.question or ""
        asked, room = [], self.room
        for text in texts:
            pieces = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            end = pieces[room - 1][1] if len(pieces) > room else len(text)
            asked.append(self._templated(question.replace("{text}", text[:end])))
        return asked

    def _templated(self, question: str) -> list[int]:
        tokenizer = self._base.tokenizer
        if tokenizer.chat_template:
            said = [{"role": "user", "content": question}]
            question = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        special = not tokenizer.chat_template  # the template has them
        ids: list[int] = tokenizer(question, add_special_tokens=special)["input_ids"]
        return ids

    def _answer_ids(self) -> list[list[int]]:
        tokenizer = self._base.tokenizer
        return [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in self._settings.answers.values()]

    def _asked(self, questions: Sequence[list[int]]) -> list[Probabilities]:
        """Weigh the answers by their likelihood after each question."""
        torch, answers = self._base.torch, self._answer_ids()
        longest = max(map(len, answers))
        rows = [question + answer for question in questions for answer in answers]
        logs = self._base(rows, last=longest + 1).log_softmax(-1)
        found = []
        for first in range(0, len(rows), len(answers)):
            sums = []
            for k, answer in enumerate(answers):
                before = logs[first + k, -len(answer) - 1 : -1]  # what stands before a token tells its chances
                sums.append(before.gather(1, torch.tensor(answer, device=before.device)[:, None]).sum())
            found.append(torch.stack(sums).softmax(0).tolist())
        return found
