"""`speech_figure`: waveforms beside each other, each above its mel spectrogram."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jflows.data.audio import MelSetting, log_mel
from jflows.eval.drawing import AFTER, DPI, FAINT, GREY, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 10.6, 1.75  # of the page and of one waveform, in inches


def speech_figure(waveforms: Mapping[str, np.ndarray], setting: MelSetting, title: str = "") -> "Figure":
    """Draws waveforms by their names, one below the other, each with its mel spectrogram at the right.

    All share one scale of samples, and one of colours, which ends at the floor of the setting.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num = len(waveforms)
    figure = Figure(dpi=DPI, figsize=(WIDTH, num * HEIGHT + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(num, 2, squeeze=False, sharex=True)
    mels = {name: log_mel(samples, setting) for name, samples in waveforms.items()}
    loudest = max(np.abs(samples).max() for samples in waveforms.values()) or 1.0
    highest = max(mel.max() for mel in mels.values())
    for (left, right), (name, samples) in zip(panels, waveforms.items(), strict=True):
        seconds = len(samples) / setting.rate
        left.plot(np.arange(len(samples)) / setting.rate, samples, color=AFTER, linewidth=0.4)
        left.set(ylim=(-1.05 * loudest, 1.05 * loudest), xlim=(0, seconds))
        left.set_title(name, fontsize=9, color=INK, loc="left")
        place = (0, len(mels[name]) * setting.hop / setting.rate, 0, setting.num_mels)
        shades = dict(vmin=np.log(setting.floor), vmax=highest, cmap="magma")
        right.imshow(mels[name].T, origin="lower", aspect="auto", extent=place, interpolation="nearest", **shades)
        for axes in (left, right):
            axes.spines[:].set_color(FAINT)
            axes.tick_params(color=FAINT, labelcolor=GREY, labelsize=7, length=2.5)
    panels[0][1].set_title("log mel spectrogram", fontsize=9, color=INK, loc="left")
    for axes in panels[-1]:
        axes.set_xlabel("seconds", fontsize=8, color=GREY)
    if title:
        figure.suptitle(title, fontsize=11, weight="bold", color=INK)
    return figure
