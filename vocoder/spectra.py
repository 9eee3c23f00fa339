"""Short-time magnitudes with a backward pass of their own, several times quicker than the derived one on a CPU.

Let X_k be the transform of a windowed frame x, m_k = √(|X_k|² + ε), and g_k = ∂L/∂m_k. With the frame real,

    ∂L/∂x_n = Σ_k g_k / m_k · Re(X_k e^{2πikn/N}),   k = 0 … N/2,

which is an inverse real transform of g_k X_k / m_k, once the bins between 0 and N/2 are halved: it counts them twice,
for themselves and for their mirror images. Autograd would take a complex transform of twice the size instead.
"""

from typing import Any

import torch

# Power below which a bin is silence: 30 times what rounding to 16 bits leaves in a bin of a window of 1024.
POWER_FLOOR = 1e-6


def magnitudes(waveform: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Waveforms `(B, S)`, window `(n_fft,)` → `(B, T, n_fft / 2 + 1)`: hops of a quarter window, whole windows only."""
    found: torch.Tensor = _Magnitudes.apply(waveform, window)
    return found


class _Magnitudes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, waveform: torch.Tensor, window: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        size = len(window)
        frames = waveform.unfold(1, size, size // 4) * window  # (B, S) -> (B, T, n_fft)
        spectrum = torch.fft.rfft(frames, dim=2)
        found = (spectrum.real.square() + spectrum.imag.square()).add_(POWER_FLOOR).sqrt_()
        ctx.save_for_backward(spectrum, found, window)
        ctx.n_samples = waveform.shape[1]
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401
        spectrum, found, window = ctx.saved_tensors
        ratio = gradients[0] / found
        ratio[:, :, 1:-1] *= 0.5
        frames = torch.fft.irfft(spectrum * ratio, dim=2, norm="forward") * window
        hop, n_frames = len(window) // 4, frames.shape[1]
        quarters = frames.unflatten(2, (4, hop))
        total = frames.new_zeros(len(frames), ctx.n_samples)
        hops = total[:, : (n_frames + 3) * hop].unflatten(1, (n_frames + 3, hop))
        for i in range(4):  # overlap-add: the i-th quarter of a window lies i hops after its first
            hops[:, i : i + n_frames] += quarters[:, :, i]
        return total, None
