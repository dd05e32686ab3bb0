"""Voice activity: where somebody speaks, by Silero's network (MIT), whose weights come with the package silero-vad.

The package runs its network frame by frame in Python, with torch, and makes spectra by a convolution. Here spectra are
made by a fast Fourier transform, convolutions are products of a block of frames with the taps that meet them, and
ONNX Runtime runs the rest, a recurrent layer: the same probabilities in a fraction of the time and the memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from malgeul.audio.pcm import FULL_SCALE, RATE, Samples
from malgeul.shards.imports import lasting_imports

FRAME = 512
"""Samples of a frame, 32 ms: what a probability is of."""
CONTEXT = 64
"""Samples of the frame before that the network sees too."""
FRAMES_AT_ONCE = 256
"""Frames that the network takes at once, 8 s: more of them take more memory and are no faster."""
LOWER, LOWEST = 0.15, 0.01
"""Speech goes on while the probability is less than this much below the threshold, but never below the second."""
PAUSE, SHORTEST, PADDING = RATE // 10, RATE // 4, RATE * 30 // 1000
"""In samples: what ends speech, what is too short for it, and what is added on either side; all as in the package."""

Probabilities = npt.NDArray[np.float32]
Span = tuple[float, float]
"""[start, end) in seconds."""
State = list[npt.NDArray[np.float32]]
"""What the network remembers."""

_WINDOW, _HOP, _SPECTRA = 256, 128, 4
"""Samples of the network's short-time Fourier transform: four spectra of a frame, whose end is reflected."""
_STRIDES = (1, 2, 2, 1)
"""Of the convolutions: they make one vector of the four spectra of a frame."""
_FOUND, _STATE, _STATE_AFTER = "speech_probs", ("h", "c"), ("hn", "cn")
"""As the network's file names them."""
_SILENCE: State = [np.zeros((1, 1, 128), np.float32)] * len(_STATE)
"""The state before the first frame."""

_loading = threading.Lock()


def detect_speech(blocks: Iterable[Samples], threshold: float) -> list[Span]:
    """Return where somebody speaks in a channel, given as blocks of 16 kHz samples of any length.

    Speech begins where the probability reaches ``threshold`` and ends where it stays 0.15 below that for 0.1 s; what is
    shorter than 0.25 s is none. Spans are padded by 30 ms, for which there is room in any pause.
    """
    samples = 0

    def counted() -> Iterator[Samples]:
        nonlocal samples
        for block in blocks:
            samples += len(block)
            yield block

    found = probabilities(counted()).tolist()
    return [(round(start / RATE, 3), round(end / RATE, 3)) for start, end in spans_of(found, threshold, samples)]


def spans_of(found: Sequence[float], threshold: float, samples: int) -> list[tuple[int, int]]:
    """Return [start, end) in samples of what is spoken in so many of them, given the probabilities of their frames."""
    spans = []
    start = end = None
    for at, probability in zip(range(0, len(found) * FRAME, FRAME), found, strict=True):
        if probability >= threshold:
            start, end = (at if start is None else start), None
        elif start is not None and probability < max(threshold - LOWER, LOWEST):
            end = at if end is None else end
            if at - end >= PAUSE:
                spans.append((start, end))
                start = end = None
    if start is not None:
        spans.append((start, samples))
    spans = [(start, end) for start, end in spans if end - start > SHORTEST]
    return [(max(start - PADDING, 0), min(end + PADDING, samples)) for start, end in spans]


def probabilities(blocks: Iterable[Samples]) -> Probabilities:
    """Return the probability of speech of every frame; the last one is filled up with silence."""
    with _loading:
        network = _load()
    state = _SILENCE
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


class _Network:
    """Silero's network of 16 kHz: what encodes frames one by one, and what remembers those before."""

    def __init__(self, file: Path) -> None:
        with lasting_imports():
            import onnx.utils
            import onnxruntime
            from onnx.numpy_helper import to_array

        model = onnx.shape_inference.infer_shapes(onnx.load(file))
        weights = {tensor.name: to_array(tensor) for tensor in model.graph.initializer}
        self._shape = weights["stft.forward_basis_buffer"][0, 0]  # of frequency 0: the window alone
        self._layers, inputs = [], _SPECTRA
        for layer, stride in enumerate(_STRIDES):
            products = list(_products(weights[f"encoder.{layer}.weight"], inputs, stride))
            self._layers.append((products, weights[f"encoder.{layer}.bias"]))
            inputs = len(products)
        (self._encoding,) = (node.input[0] for node in model.graph.node if node.op_type == "LSTM")
        rest = onnx.utils.Extractor(model).extract_model([self._encoding, *_STATE], [_FOUND, *_STATE_AFTER])
        alone = onnxruntime.SessionOptions()
        alone.intra_op_num_threads = alone.inter_op_num_threads = 1
        self._rest = onnxruntime.InferenceSession(rest.SerializeToString(), alone, ["CPUExecutionProvider"])

    def __call__(self, frames: Samples, state: State) -> tuple[Probabilities, State]:
        """Return the probabilities of (n, CONTEXT + FRAME) samples after ``state``, and the state after them."""
        given = {self._encoding: self._encode(frames)[:, None], **dict(zip(_STATE, state, strict=True))}
        found, *after = self._rest.run([_FOUND, *_STATE_AFTER], given)
        return found, after

    def _encode(self, frames: Samples) -> npt.NDArray[np.float32]:
        x = frames * np.float32(1 / FULL_SCALE)
        x = np.concatenate([x, x[:, -2 : -CONTEXT - 2 : -1]], axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(x, _WINDOW, axis=1)[:, ::_HOP]
        x = np.abs(np.fft.rfft(windows * self._shape)).reshape(len(frames), -1)
        for products, bias in self._layers:
            x = np.concatenate([x[:, part] @ taps + bias for part, taps in products], axis=1)
            np.maximum(x, 0, out=x)
        return x


@cache
def _load() -> _Network:
    package = find_spec("silero_vad")  # not imported: it imports torch
    assert package is not None, "silero-vad is not installed"
    (folder,) = package.submodule_search_locations or [""]
    threadpool_limits(1, user_api="blas")  # recordings are converted side by side, a thread each
    return _Network(Path(folder) / "data/silero_vad_16k_sequence.onnx")


def _products(weight: Any, inputs: int, stride: int) -> Iterator[tuple[slice, Any]]:
    """Yield, for every output of a convolution of three taps, which features go in and what they are multiplied by.

    ``inputs`` vectors lie side by side. Taps that would meet the zeros beyond either end are left out, a fifth of all.
    """
    features = weight.shape[1]
    for centre in range(0, inputs, stride):
        first, last = max(centre - 1, 0), min(centre + 2, inputs)
        tap = first - centre + 1
        taps = weight[:, :, tap : tap + last - first].transpose(2, 1, 0).reshape(-1, len(weight))
        yield slice(first * features, last * features), taps
