"""Cartoon faces at 64x64: the faces of `cartoon_faces`, drawn twice as large."""

import dataclasses
from functools import partial

from jflows.data.known import cartoon_faces

DATA = dataclasses.replace(
    cartoon_faces.DATA,
    name="cartoon_faces_64",
    title="Cartoon faces with twenty attributes, 64x64 RGB",
    event_shape=(64, 64, 3),
    prepare_seconds=240,
    read=partial(cartoon_faces.read, size=64),
)
