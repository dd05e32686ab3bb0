"""Loudness of a recording: integrated, by EBU R128 (ITU-R BS.1770-5), of one or two channels at 16 kHz.

The K-weighting filter goes back to its own output, sample by sample. Here 64 samples at once are multiplied by what the
filter answers to each of them, and only the filter's state goes from one such row to the next.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from malgeul.audio.pcm import FULL_SCALE, RATE

Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

GATE_LUFS = -70.0
"""What is quieter than the absolute gate does not count."""
RELATIVE_GATE = -10.0
"""Nor does what is so far below the loudness of all that passes the absolute gate."""
HOP = RATE // 10
"""Samples from the beginning of one gating block to that of the next: 100 ms."""
HOPS = 4
"""Of a gating block: 400 ms."""
ROW = 64
"""Samples that are filtered at once; a hop is a whole number of rows."""


def _k_weighting() -> tuple[Matrix, Matrix, Matrix, float]:
    """Return the filter as a system of states: s' = A s + b x, y = c s + d x.

    A shelf that raises what is above 1.7 kHz by 4 dB, then a high pass at 38 Hz: the analog filters that the tables of
    BS.1770 come from, by the bilinear transform at this rate.
    """
    shelf, high_pass = (1681.974450955533, 0.7071752369554196, 3.999843853973347), (38.1354709, 0.5003270, None)
    sections = []
    for hertz, quality, gain in (shelf, high_pass):
        k = math.tan(math.pi * hertz / RATE)
        a0 = 1 + k / quality + k * k
        if gain is None:
            b = np.array([1.0, -2.0, 1.0])
        else:
            high = 10 ** (gain / 20)
            band = high**0.4996667741545416
            beside = band * k / quality
            b = np.array([high + beside + k * k, 2 * (k * k - high), high - beside + k * k]) / a0
        sections.append((b, np.array([2 * (k * k - 1), 1 - k / quality + k * k]) / a0))
    a, into, out, through = np.zeros((4, 4)), np.zeros(4), np.zeros(4), 1.0
    for n, (b, feedback) in enumerate(sections):  # transposed direct form II; the second hears the first
        own = slice(2 * n, 2 * n + 2)
        step = np.array([[-feedback[0], 1.0], [-feedback[1], 0.0]])
        gain_in = b[1:] - feedback * b[0]
        a[own, own] = step
        a[own, : 2 * n] = np.outer(gain_in, out[: 2 * n])
        into[own] = gain_in * through
        out = b[0] * out
        out[2 * n] = 1.0
        through *= b[0]
    return a, into, out, through


def _by_rows() -> tuple[Floats, Floats, list[Floats]]:
    """Return what makes a row's states at its end, its output, and how states are handed on.

    A row of samples times the first is the state after it from nothing. A row and the state before it, side by side,
    times the second is what comes out. The third moves states on by 1, 2, 4, ... rows, until nothing is left of them.
    """
    a, b, c, d = _k_weighting()
    powers = [np.eye(4)]
    for _ in range(ROW):
        powers.append(a @ powers[-1])
    into = np.array([powers[ROW - 1 - k] @ b for k in range(ROW)])
    response = np.array([d, *(c @ powers[k] @ b for k in range(ROW - 1))])
    out = np.zeros((ROW + 4, ROW))
    for k in range(ROW):
        out[k, k:] = response[: ROW - k]
        out[ROW:, k] = c @ powers[k]
    moved, moves = powers[ROW].T, []
    while np.abs(moved).max() > 1e-9:
        moves.append(moved.astype(np.float32))
        moved = moved @ moved
    return into.astype(np.float32), out.astype(np.float32), moves


_INTO, _OUT, _MOVES = _by_rows()


class KWeighted:
    """Energies of one channel behind the K-weighting filter, given block by block."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.int16)
        self._state = np.zeros(4, np.float32)

    def energies(self, track: npt.NDArray[np.int16]) -> Matrix:
        """Take the next samples; return the energy, relative to full scale, of every hop that they make whole."""
        track = np.concatenate([self._rest, track])
        hops = len(track) // HOP
        self._rest = track[hops * HOP :]
        # A product for every hop: so small a one BLAS gives to no other threads, which have recordings of their own.
        both = np.empty((hops, HOP // ROW, ROW + 4), np.float32)
        samples, states = both[..., :ROW], both[..., ROW:]
        np.multiply(track[: hops * HOP].reshape(samples.shape), np.float32(1 / FULL_SCALE), out=samples)
        after = np.concatenate([self._state[None], (samples @ _INTO).reshape(-1, 4)])
        for n, move in enumerate(_MOVES):
            # Of what was handed on so far: the right side is made before the left one changes.
            after[1 << n :] += after[: -1 << n] @ move
        states[:] = after[:-1].reshape(states.shape)
        self._state = after[-1]
        filtered = both @ _OUT
        energies: Matrix = np.einsum("hrs,hrs->hr", filtered, filtered).sum(axis=1, dtype=np.float64)
        return energies


def integrated_lufs(energies: Matrix) -> float | None:
    """Return the loudness of a recording by the energies of its hops, all channels together; None below the gate."""
    if len(energies) < HOPS:
        return None
    blocks = np.convolve(energies, np.full(HOPS, 1 / (HOPS * HOP)), mode="valid")
    loud = blocks[blocks > _power(GATE_LUFS)]
    if not len(loud):
        return None
    return _lufs(loud[loud > _power(_lufs(loud.mean()) + RELATIVE_GATE)].mean())


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))
