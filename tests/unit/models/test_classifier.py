"""Classifiers by a head or by a question, with adapters that share a base, and no label by made-up weights."""

import json
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoTokenizer,
    ElectraConfig,
    ElectraForSequenceClassification,
    ElectraModel,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from malgeul import ROOT
from malgeul.models.classifier import identity_of, load_classifiers
from malgeul.models.devices import cpu
from malgeul.models.settings import TextClassifier
from malgeul.models.weights import load_model
from malgeul.shards.ledger import Ledger, Units

TEXTS = [
    "검찰청 수사관입니다. 계좌가 범죄에 쓰였습니다.",
    "내일 세 시에 회의실에서 뵙겠습니다.",
    "네",
    "택배 왔어요 " * 30,
]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def tokenizer():
    return AutoTokenizer.from_pretrained(str(ROOT / "resources/models/tokenizer-ko-demo"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An ELECTRA with random weights and no head."""
    folder = tmp_path_factory.mktemp("models") / "base"
    torch.manual_seed(0)
    tokenizer().save_pretrained(str(folder))
    config = ElectraConfig(vocab_size=len(tokenizer()), embedding_size=32, initializer_range=0.5, **SIZES)
    ElectraModel(config).save_pretrained(str(folder))
    return folder


def make_adapter(base, folder, seed, labels):
    """Write an adapter with a head of its own, none of whose weights is 0."""
    torch.manual_seed(seed)
    model = ElectraForSequenceClassification.from_pretrained(str(base), num_labels=len(labels))
    chosen = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"], init_lora_weights=False)
    get_peft_model(model, chosen).save_pretrained(str(folder))
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(labels))}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def adapters(base):
    labels = {"phishing": ["ordinary", "phishing"], "spam": ["ham", "spam"]}
    return {name: make_adapter(base, base.parent / name, seed, of) for seed, (name, of) in enumerate(labels.items(), 1)}


def load(settings):
    return load_classifiers(settings, cpu(), 1, Ledger("classify", "x", Units("recording", "recording")))


def with_adapter(base, adapter):
    return TextClassifier(model=str(base), adapter=str(adapter), longest=64)


def test_adapters_of_one_model_share_its_weights_and_answer_as_if_they_were_alone(base, adapters):
    together = load({name: with_adapter(base, adapter) for name, adapter in adapters.items()})
    assert together["spam"]._base is together["phishing"]._base
    assert together["phishing"].labels == ["ordinary", "phishing"]
    found = {name: classifier(TEXTS) for name, classifier in together.items()}
    assert found["spam"] != found["phishing"]
    for name, adapter in adapters.items():
        alone = load({name: with_adapter(base, adapter)})[name](TEXTS)
        for one, other in zip(alone, found[name], strict=True):
            assert one == pytest.approx(other, abs=1e-6)
    again = together["phishing"](TEXTS)
    for one, other in zip(again, found["phishing"], strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_an_adapter_answers_as_peft_has_it(base, adapters):
    from peft import PeftModel

    model = ElectraForSequenceClassification.from_pretrained(str(base), num_labels=2)
    model = PeftModel.from_pretrained(model, str(adapters["spam"])).eval()
    ids = tokenizer()(TEXTS[0], return_tensors="pt", truncation=True, max_length=64)
    with torch.inference_mode():
        expected = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).logits.softmax(1)[0].tolist()
    assert load({"it": with_adapter(base, adapters["spam"])})["it"](TEXTS[:1])[0] == pytest.approx(expected, abs=1e-5)


def test_a_model_without_a_head_is_no_classifier(base):
    with pytest.raises(ValueError, match=r"has no weights for classifier\..*it is no classifier"):
        load({"it": TextClassifier(model=str(base))})


def test_an_adapter_without_the_head_that_the_model_lacks_is_refused(base, tmp_path):
    model = ElectraModel.from_pretrained(str(base))
    get_peft_model(model, LoraConfig(r=2, target_modules=["query"])).save_pretrained(str(tmp_path / "headless"))
    with pytest.raises(ValueError, match=r"neither .* nor .*headless has weights for classifier"):
        load({"it": with_adapter(base, tmp_path / "headless")})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_hidden_layers": 1}, r"4 .*\.layer\.\d"),
        ({"num_hidden_layers": 3}, r"4 .*\.layer\.\d"),
        ({"hidden_size": 64}, r"Error\(s\) in loading"),
    ],
)
def test_an_adapter_of_another_base_is_refused(base, adapters, tmp_path, change, told):
    """peft itself computes with the layers that it finds, without a word or with a warning."""
    tokenizer().save_pretrained(str(tmp_path))
    ElectraModel(ElectraConfig.from_pretrained(str(base), **change)).save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=f"phishing was trained on another base: {told}"):
        load({"it": with_adapter(tmp_path, adapters["phishing"])})


def test_a_text_is_cut_to_the_positions_that_a_model_has(tmp_path):
    """RoBERTa's first position is the one behind the padding's id, so that it takes fewer tokens than it has."""
    tokenizer().save_pretrained(str(tmp_path))
    config = RobertaConfig(vocab_size=len(tokenizer()), max_position_embeddings=34, pad_token_id=0, **SIZES)
    RobertaForSequenceClassification(config).save_pretrained(str(tmp_path))
    classifier = load({"it": TextClassifier(model=str(tmp_path))})["it"]
    assert classifier.room == 33
    assert len(classifier(TEXTS)) == len(TEXTS)


def test_a_folder_that_is_no_adapter_is_refused(base):
    with pytest.raises(ValueError, match=r"has no adapter_model\.safetensors"):
        load({"it": with_adapter(base, base)})


def test_what_an_adapter_holds_names_the_result(base, adapters):
    one, other = (identity_of(with_adapter(base, adapter)) for adapter in adapters.values())
    assert one != other
    assert one["digest"] == other["digest"] == identity_of(TextClassifier(model=str(base)))["digest"]


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A LLaMA with random weights."""
    folder = tmp_path_factory.mktemp("writer")
    torch.manual_seed(0)
    pieces = tokenizer()
    pieces.save_pretrained(str(folder))
    config = LlamaConfig(
        vocab_size=len(pieces), num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3, **SIZES
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder


QUESTION = "다음 통화는 사기입니까?\n{text}\n답:"
ANSWERS = {"phishing": "예", "ordinary": "아니오, 아닙니다"}


def asking(writer, **more):
    return TextClassifier(model=str(writer), question=QUESTION, answers=ANSWERS, longest=80, **more)


def likelihood(model, text):
    """Return the logarithms of the chances that a model writes each answer after the question."""
    pieces, logs = tokenizer(), []
    asked = pieces(QUESTION.replace("{text}", text))["input_ids"]
    for answer in ANSWERS.values():
        said = pieces(answer, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            at = model(input_ids=torch.tensor([asked + said])).logits.log_softmax(-1)[0]
        logs.append(float(sum(at[len(asked) - 1 + k, token] for k, token in enumerate(said))))
    return logs


def odds(chances):
    """Return the logarithm of the odds: answers of more tokens are so unlikely that chances tell nothing apart."""
    return math.log(chances[0]) - math.log(chances[1])


def test_a_model_that_writes_weighs_the_answers_by_their_likelihood(writer):
    classifier = load({"it": asking(writer)})["it"]
    assert classifier.labels == ["phishing", "ordinary"]
    found = classifier(TEXTS[:2])
    model = LlamaForCausalLM.from_pretrained(str(writer)).eval()
    for text, chances in zip(TEXTS, found, strict=False):
        assert sum(chances) == pytest.approx(1)
        yes, no = likelihood(model, text)
        assert odds(chances) == pytest.approx(yes - no, abs=1e-3)


def test_the_batch_changes_no_answer_and_a_long_text_is_cut_before_the_question(writer):
    classifier = load({"it": asking(writer)})["it"]
    assert classifier._question_ids(TEXTS)[3][-3:] == classifier._question_ids(TEXTS)[0][-3:]
    assert max(map(len, classifier._question_ids(TEXTS))) <= 80
    together = classifier(TEXTS)
    alone = [load({"it": asking(writer, batch_tokens=1)})["it"]([text])[0] for text in TEXTS]
    for one, other in zip(alone, together, strict=True):
        assert odds(one) == pytest.approx(odds(other), abs=1e-3)


@pytest.fixture(scope="module")
def trained(writer):
    """Two adapters on the LLaMA, none of whose weights is 0."""
    folders = {}
    for seed, name in enumerate(("phishing", "spam"), 1):
        torch.manual_seed(seed)
        chosen = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        folders[name] = writer.parent / f"writer-{name}"
        get_peft_model(LlamaForCausalLM.from_pretrained(str(writer)), chosen).save_pretrained(str(folders[name]))
    return folders


def test_adapters_of_one_model_that_writes_share_its_weights_and_answer_as_peft_has_them(writer, trained):
    from peft import PeftModel

    together = load({name: asking(writer, adapter=str(folder)) for name, folder in trained.items()})
    assert together["spam"]._base is together["phishing"]._base
    found = {"none": odds(load({"it": asking(writer)})["it"]([TEXTS[1]])[0])}
    for name in ("phishing", "spam", "phishing"):  # one after the other, and back
        model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(str(writer)), str(trained[name])).eval()
        yes, no = likelihood(model, TEXTS[1])
        found[name] = odds(together[name]([TEXTS[1]])[0])
        assert found[name] == pytest.approx(yes - no, abs=1e-3)
    assert len({round(value, 1) for value in found.values()}) == 3, found


def test_a_model_that_writes_is_loaded_with_an_adapter_that_changes_what_it_writes(writer, trained):
    asked = tokenizer()(TEXTS[1], return_tensors="pt")
    written = {}
    for adapter in (None, trained["phishing"], trained["spam"]):
        model = load_model("write", writer, cpu(), precision="float32", adapter=adapter).model
        with torch.inference_mode():
            written[adapter] = model.generate(**asked, max_new_tokens=8, do_sample=False)[0].tolist()
    assert len({tuple(tokens) for tokens in written.values()}) == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"question": "사기?", "answers": ANSWERS}, "no {text}"),
        ({"question": "{text}?"}, "two answers"),
        ({"answers": ANSWERS}, "answers need a question"),
    ],
)
def test_a_question_that_cannot_be_asked_is_said(wrong, said):
    with pytest.raises(ValueError, match=said):
        TextClassifier(model="x", **wrong)
