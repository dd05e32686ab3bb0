"""What a device computes in, and that linear layers do what they did."""

import pytest
import torch

from malgeul.models.devices import Device
from malgeul.models.linear import with_linear_layers_in, with_linear_layers_in_int8
from malgeul.models.precision import candidate_precisions, precision_for

CPU, GPU = Device("cpu", "x"), Device("cuda", "x")


def model():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(32, 48), torch.nn.GELU(), torch.nn.Sequential(torch.nn.Linear(48, 8, bias=False))]
    return torch.nn.Sequential(*layers).eval()


def test_auto_is_what_every_device_of_a_kind_can():
    assert (precision_for(CPU, "auto"), precision_for(GPU, "auto")) == ("float32", "float16")
    assert precision_for(CPU, "bfloat16") == "bfloat16"


def test_int8_on_a_gpu_is_refused():
    with pytest.raises(ValueError, match="int8 is for processors"):
        precision_for(GPU, "int8")


def test_a_gpu_has_one_candidate_and_a_processor_float32_first():
    assert candidate_precisions(GPU) == ["float16"]
    assert candidate_precisions(CPU)[0] == "float32"
    assert candidate_precisions(CPU)[-1] == "int8"


@pytest.mark.parametrize(("kind", "apart"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_linear_layers_give_what_they_gave_in_the_dtype_they_are_told(monkeypatch, kind, apart, machine):
    monkeypatch.setattr("platform.machine", lambda: machine)
    x = torch.randn(2, 7, 32)
    with torch.inference_mode():
        expected, found = model()(x), with_linear_layers_in(model(), kind)(x)
    assert found.dtype == kind
    assert not any(type(module) is torch.nn.Linear for module in with_linear_layers_in(model(), kind).modules())
    assert float((found.float() - expected).norm() / expected.norm()) < apart


def test_quantized_layers_give_nearly_what_they_gave():
    x = torch.randn(2, 7, 32)
    with torch.inference_mode():
        expected, found = model()(x), with_linear_layers_in_int8(model())(x)
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.03
