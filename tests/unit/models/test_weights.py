"""One function loads every model: by task, in a precision, with an adapter, within the memory that is allowed."""

from types import SimpleNamespace

import pytest
import torch

from malgeul import ROOT
from malgeul.models.adapters import labels_of
from malgeul.models.devices import cpu
from malgeul.models.hub import ModelNotFound
from malgeul.models.weights import bytes_in_memory, limit_gpu_memory, load_model

MODELS = ROOT / "resources/models"
ENCODER = MODELS / "embed-ko-demo"


@pytest.mark.parametrize(
    ("task", "name", "made"),
    [
        ("transcribe", "whisper-ko-demo", "WhisperForConditionalGeneration"),
        ("embed", "embed-ko-demo", "BertModel"),
        ("classify", "embed-ko-demo", "BertForSequenceClassification"),
        ("fill", "embed-ko-demo", "BertForMaskedLM"),
    ],
)
def test_a_task_has_its_class(task, name, made):
    loaded = load_model(task, f"resources/models/{name}", cpu())
    assert type(loaded.model).__name__ == made
    assert not loaded.model.training
    assert any("classifier" in weight for weight in loaded.drawn) == (task == "classify")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_weights_are_in_the_precision_and_take_what_is_foretold(precision):
    model = load_model("embed", ENCODER, cpu(), precision=precision, add_pooling_layer=False).model
    assert model.dtype == getattr(torch, precision)
    taken = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    assert bytes_in_memory(ENCODER, precision) == taken


def test_native_is_what_the_files_hold():
    model = load_model("transcribe", MODELS / "whisper-ko-demo", cpu()).model
    held = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    assert held == pytest.approx(bytes_in_memory(MODELS / "whisper-ko-demo"), rel=0.02)  # and a header


def test_weights_that_the_cap_has_no_room_for_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setenv("MAX_MEMORY_GB", "0.01")
    with pytest.raises(ValueError, match=r"embed-ko-demo take 0\.\d\d GiB, and MAX_MEMORY_GB allows 0\.01; raise it"):
        load_model("embed", ENCODER, cpu(), precision="float32")
    assert load_model("embed", ENCODER, cpu(), precision="float32", max_memory_gb=1).model, "said here, it counts"
    monkeypatch.delenv("MAX_MEMORY_GB")
    with pytest.raises(ValueError, match="raise it"):
        load_model("embed", ENCODER, cpu(), precision="float32", max_memory_gb=0.01)


def test_an_adapter_is_put_on(tmp_path):
    from peft import LoraConfig, get_peft_model

    base = load_model("embed", ENCODER, cpu(), precision="float32").model
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        bare = base(input_ids=ids).last_hidden_state
    torch.manual_seed(1)
    adapted = get_peft_model(base, LoraConfig(target_modules=["query"], init_lora_weights=False)).eval()
    adapted.save_pretrained(tmp_path)
    again = load_model("embed", ENCODER, cpu(), precision="float32", adapter=str(tmp_path)).model
    with torch.inference_mode():
        wanted, found = adapted(input_ids=ids).last_hidden_state, again(input_ids=ids).last_hidden_state
    assert torch.equal(wanted, found)
    assert not torch.allclose(bare, found, atol=1e-3)


def test_an_adapter_brings_the_head_that_it_was_trained_with():
    phishing = str(MODELS / "phishing-ko-demo")
    alone = load_model("classify", ENCODER, cpu(), precision="float32")
    assert any("classifier" in name for name in alone.drawn)
    judge = load_model("classify", ENCODER, cpu(), precision="float32", adapter=phishing)
    assert not any("classifier" in name for name in judge.drawn)
    assert judge.model.config.num_labels == len(labels_of(MODELS / "phishing-ko-demo"))


def test_a_model_may_be_spread(monkeypatch):
    monkeypatch.setenv("MAX_MEMORY_GB", "1")
    spread = load_model("embed", ENCODER, cpu(), precision="float32", device_map="auto").model
    assert spread.device.type in {"cpu", "cuda"}


def test_a_name_that_is_nowhere_is_told(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFound, match="someone/else"):
        load_model("embed", "someone/else", cpu())


@pytest.fixture
def gpus(monkeypatch):
    """Four GPUs of 10 GiB as torch knows them, of which the third is in use; gives their caps as they come."""
    gpus = SimpleNamespace(in_use=2, caps={})

    def limit(fraction, number):
        gpus.caps[number] = fraction
        gpus.in_use = number  # as CUDACachingAllocator.cpp (setMemoryFraction) leaves it

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: gpus.in_use)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=10 << 30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limit)
    return gpus


@pytest.mark.parametrize(("every", "capped"), [(False, {2}), (True, {0, 1, 2, 3})])
def test_a_cap_leaves_the_gpu_in_use_as_it_was(gpus, every, capped):
    limit_gpu_memory(5 << 30, every_gpu=every)
    assert gpus.caps == dict.fromkeys(capped, 0.5)
    assert gpus.in_use == 2


@pytest.fixture
def capped(gpu):
    """A GPU whose memory is without a cap afterwards."""
    yield gpu
    torch.cuda.set_per_process_memory_fraction(1.0, 0)


@pytest.mark.gpu
def test_the_cap_holds_for_all_that_the_process_takes(capped, monkeypatch):
    monkeypatch.setenv("MAX_MEMORY_GB", "1")
    load_model("embed", ENCODER, capped, precision="float16")
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(2 << 30, dtype=torch.uint8, device="cuda:0")


@pytest.mark.gpu
def test_what_the_cap_has_no_room_for_is_spread_over_device_and_host_and_refused_otherwise(
    capped, tmp_path, monkeypatch
):
    from transformers import BertConfig, BertModel

    layer = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
    BertModel(BertConfig(num_hidden_layers=8, vocab_size=1000, **layer)).save_pretrained(tmp_path)
    monkeypatch.setenv("MAX_MEMORY_GB", "0.25")
    assert bytes_in_memory(tmp_path) > 0.35 * (1 << 30)
    with pytest.raises(ValueError, match="MAX_MEMORY_GB allows"):
        load_model("embed", tmp_path, capped)
    model = load_model("embed", tmp_path, capped, device_map="auto").model
    assert set(model.hf_device_map.values()) == {0, "cpu"}
    held = sum(weight.numel() * weight.element_size() for weight in model.parameters() if weight.is_cuda)
    assert 0 < held <= 0.25 * (1 << 30)
