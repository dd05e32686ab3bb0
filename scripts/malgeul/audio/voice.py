"""Voice activity: where somebody speaks, by Silero's network (MIT), whose weights come with the package silero-vad.

The package runs its network frame by frame in Python, and makes spectra by a convolution. Here spectra are made by a
fast Fourier transform, convolutions are products of a block of frames with the taps that meet them, and the recurrent
layer runs in native code: the same probabilities in a fraction of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from malgeul.audio.pcm import FULL_SCALE, RATE, Samples
from malgeul.shards.imports import lasting_imports

FRAME = 512
"""Samples of a frame, 32 ms: what a probability is of."""
CONTEXT = 64
"""Samples of the frame before that the network sees too."""
FRAMES_AT_ONCE = 1024
"""Frames that the network takes at once: some 33 s, so that memory does not grow with the length."""
FRAMES_TOGETHER = 256
"""Of these so many go through spectra and convolutions together: the memory that more of them would need on the way is
given back to the kernel and cleared anew every time."""

Probabilities = npt.NDArray[np.float32]
Span = tuple[float, float]
"""[start, end) in seconds."""

_WINDOW, _HOP, _SPECTRA = 256, 128, 4
"""Samples of the network's short-time Fourier transform: four spectra of a frame, whose end is reflected."""
_STRIDES = (1, 2, 2, 1)
"""Of the convolutions: they make one vector of the four spectra of a frame."""
_RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

_loading = threading.Lock()


def detect_speech(blocks: Iterable[Samples], threshold: float) -> list[Span]:
    """Return where somebody speaks in a channel, given as blocks of 16 kHz samples of any length.

    Speech begins where the probability reaches ``threshold`` and ends where it stays 0.15 below that for 0.1 s; what is
    shorter than 0.25 s is none. Spans are padded by 30 ms (all as the package does).
    """
    samples = 0

    def counted() -> Iterator[Samples]:
        nonlocal samples
        for block in blocks:
            samples += len(block)
            yield block

    found = probabilities(counted())
    from silero_vad.utils_vad import get_speech_timestamps_from_probs  # imports torch: after it has been for good

    spans = get_speech_timestamps_from_probs(found.tolist(), threshold=threshold, audio_length_samples=samples)
    return [(round(span["start"] / RATE, 3), round(span["end"] / RATE, 3)) for span in spans]


def probabilities(blocks: Iterable[Samples]) -> Probabilities:
    """Return the probability of speech of every frame; the last one is filled up with silence."""
    with _loading:
        network = _load()
    state: Any = None
    found = [np.zeros(0, np.float32)]
    for frames in _frames(blocks):
        of_block, state = network(frames, state)
        found.append(of_block)
    return np.concatenate(found)


def _frames(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """Yield (n, CONTEXT + FRAME) samples: every frame after the end of the one before it."""
    rest: Samples = np.zeros(CONTEXT, np.int16)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while (whole := min((len(rest) - CONTEXT) // FRAME, FRAMES_AT_ONCE)) == FRAMES_AT_ONCE:
            yield _cut(rest, whole)
            rest = rest[whole * FRAME :]
    if left := -(-(len(rest) - CONTEXT) // FRAME):
        yield _cut(np.pad(rest, (0, CONTEXT + left * FRAME - len(rest))), left)


def _cut(samples: Samples, n: int) -> Samples:
    return np.lib.stride_tricks.sliding_window_view(samples, CONTEXT + FRAME)[: n * FRAME : FRAME]


@cache
def _load() -> Callable[[Samples, Any], tuple[Probabilities, Any]]:
    """Return the network: frames and the state after those before them to probabilities and the state after them."""
    with lasting_imports():
        import torch

    package = find_spec("silero_vad")
    assert package is not None, "silero-vad is not installed"
    (folder,) = package.submodule_search_locations or [""]
    # Not the package's safetensors: they are of an older network than the one that it runs.
    script = torch.jit.load(Path(folder) / "data/silero_vad.jit")  # type: ignore[no-untyped-call]
    weights = script.state_dict()
    shape = weights["_model.stft.forward_basis_buffer"][0, 0]  # of frequency 0: the window alone
    layers, inputs = [], _SPECTRA
    for layer, stride in enumerate(_STRIDES):
        name = f"_model.encoder.{layer}.reparam_conv"
        products = list(_products(weights[f"{name}.weight"], inputs, stride))
        layers.append((products, weights[f"{name}.bias"]))
        inputs = len(products)
    lstm = torch.nn.LSTM(128, 128)
    lstm.load_state_dict({f"{name}_l0": weights[f"_model.decoder.rnn.{name}"] for name in _RECURRENT})
    last, last_bias = weights["_model.decoder.decoder.2.weight"].flatten(), weights["_model.decoder.decoder.2.bias"]

    def encoded(frames: Samples) -> torch.Tensor:
        x = torch.from_numpy(frames.astype(np.float32)) / FULL_SCALE
        x = torch.cat([x, x[:, -CONTEXT - 1 : -1].flip(1)], dim=1)
        spectra = torch.fft.rfft(x.unfold(1, _WINDOW, _HOP) * shape)
        x = torch.from_numpy(np.abs(spectra.numpy())).flatten(1)  # a tenth of the time of torch's
        for products, bias in layers:
            x = torch.cat([torch.addmm(bias, x[:, part], taps) for part, taps in products], dim=1).relu_()
        return x

    def network(frames: Samples, state: Any) -> tuple[Probabilities, Any]:
        torch.set_num_threads(1)  # recordings are converted side by side, a thread each
        with torch.inference_mode():
            parts = range(0, len(frames), FRAMES_TOGETHER)
            x, state = lstm(torch.cat([encoded(frames[at : at + FRAMES_TOGETHER]) for at in parts]), state)
            return (x.relu() @ last + last_bias).sigmoid().numpy(), state

    return network


def _products(weight: Any, inputs: int, stride: int) -> Iterator[tuple[slice, Any]]:
    """Yield, for every output of a convolution of three taps, which features go in and what they are multiplied by.

    ``inputs`` vectors lie side by side. Taps that would meet the zeros beyond either end are left out, a fifth of all.
    """
    features = weight.shape[1]
    for centre in range(0, inputs, stride):
        first, last = max(centre - 1, 0), min(centre + 2, inputs)
        tap = first - centre + 1
        taps = weight[:, :, tap : tap + last - first].permute(2, 1, 0).flatten(0, 1).contiguous()
        yield slice(first * features, last * features), taps
