"""Synthetic speech: sentences that eSpeak NG speaks, in clips of a quarter of a second with their mel spectrograms."""

from types import MappingProxyType

from jflows.data.audio import MelSetting
from jflows.data.known.sentences import TEST, TRAIN
from jflows.data.protocols.speech import Speech

DATA = Speech(
    name="speech_espeak",
    title="Speech of eSpeak NG, clips of 4,096 samples at 16 kHz, with mel spectrograms",
    licence="eSpeak NG is under the GPL, version 3; speech that it makes is not covered by that licence.",
    credit="No credit is due; cite eSpeak NG, and Prenger et al. 2018 for the features.",
    notes="It needs Linux on x86-64. Proverbs belong to all; other sentences were written for jflows.",
    sentences=MappingProxyType({"train": TRAIN, "test": TEST}),
    voices=("en-us", "en-us+f4", "en-gb-x-rp+m3", "en-gb-scotland"),
    mel=MelSetting(floor=1e-3),  # about the level of the noise, so that clean recordings have mels like these
    frames=16,
    noise=1e-3,
)
