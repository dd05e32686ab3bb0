"""Log-mel spectra as Whisper hears them, made on the device that takes them and left there.

transformers' feature extractor makes them on a GPU, too, but brings them back to the host each time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from malgeul.speech.windows import Audio

QUIETEST = 8.0
"""Powers of ten below a window's loudest that count as silence (openai/whisper's audio.py, as its next two lines)."""


class LogMel:
    """Makes the spectra that a checkpoint's feature ``extractor`` asks for on ``device``; nothing is dithered."""

    def __init__(self, extractor: Any, device: str) -> None:
        self._device, self._samples = device, int(extractor.n_samples)
        self._length, self._step = extractor.n_fft, extractor.hop_length
        self._window = torch.hann_window(self._length, device=device)
        self._filters = torch.from_numpy(extractor.mel_filters).to(device, torch.float32).T

    def whole(self, sound: Audio) -> Tensor:
        """Return a window of sound on the host, filled up with silence or cut to what the model hears: (samples,).

        For a GPU it is pinned, so that the GPU fetches it while the host goes on.
        """
        heard = torch.from_numpy(sound[: self._samples])
        whole = torch.nn.functional.pad(heard, (0, self._samples - len(heard)))
        return whole if self._device == "cpu" else whole.pin_memory()

    def __call__(self, windows: Tensor) -> Tensor:
        """Return the spectra of windows (n, samples) that are on the device: (n, mels, frames), float32, there."""
        waves = torch.stft(windows, self._length, self._step, window=self._window, return_complex=True)
        power = (waves[..., :-1].abs() ** 2).contiguous()  # products with what is strided are slow on some processors
        logs = (self._filters @ power).clamp(min=1e-10).log10()
        loudest = logs.amax((1, 2), keepdim=True)
        return (torch.maximum(logs, loudest - QUIETEST) + 4.0) / 4.0
