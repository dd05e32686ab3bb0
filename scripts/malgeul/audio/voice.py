"""Voice activity: where somebody speaks, by Silero's network (MIT), whose weights come with the package silero-vad.

The package runs its network frame by frame in Python, and makes spectra by a convolution. Here the convolutions take a
block of frames at once, spectra are made by a fast Fourier transform, and the recurrent layer runs over them in native
code: the same probabilities in a fraction of the time.
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

_WINDOW, _HOP = 256, 128
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
        from torch.nn import functional

    package = find_spec("silero_vad")
    assert package is not None, "silero-vad is not installed"
    (folder,) = package.submodule_search_locations or [""]
    # Not the package's safetensors: they are of an older network than the one that it runs.
    script = torch.jit.load(Path(folder) / "data/silero_vad.jit")  # type: ignore[no-untyped-call]
    weights = script.state_dict()
    shape = weights["_model.stft.forward_basis_buffer"][0, 0]  # of frequency 0: the window alone
    # Features lie side by side in memory (channels last), as they come from the transform: six tenths of the time.
    layers = [
        (weights[f"{name}.weight"].unsqueeze(2).contiguous(memory_format=torch.channels_last), weights[f"{name}.bias"])
        for name in (f"_model.encoder.{layer}.reparam_conv" for layer in range(len(_STRIDES)))
    ]
    lstm = torch.nn.LSTM(128, 128)
    lstm.load_state_dict({f"{name}_l0": weights[f"_model.decoder.rnn.{name}"] for name in _RECURRENT})
    last, last_bias = weights["_model.decoder.decoder.2.weight"].flatten(), weights["_model.decoder.decoder.2.bias"]

    def encoded(frames: Samples) -> torch.Tensor:
        x = torch.from_numpy(frames.astype(np.float32)) / FULL_SCALE
        x = torch.cat([x, x[:, -CONTEXT - 1 : -1].flip(1)], dim=1)
        spectra = torch.fft.rfft(x.unfold(1, _WINDOW, _HOP) * shape)
        magnitudes = torch.from_numpy(np.abs(spectra.numpy()))  # a tenth of the time of torch's
        x = magnitudes.transpose(1, 2).unsqueeze(2)
        for (weight, bias), stride in zip(layers, _STRIDES, strict=True):
            x = functional.conv2d(x, weight, bias, stride=(1, stride), padding=(0, 1)).relu_()
        return x.flatten(1)

    def network(frames: Samples, state: Any) -> tuple[Probabilities, Any]:
        torch.set_num_threads(1)  # recordings are converted side by side, a thread each
        with torch.inference_mode():
            parts = range(0, len(frames), FRAMES_TOGETHER)
            x, state = lstm(torch.cat([encoded(frames[at : at + FRAMES_TOGETHER]) for at in parts]), state)
            return (x.relu() @ last + last_bias).sigmoid().numpy(), state

    return network
