"""ORL faces at half their size, 56x44, which a small flow learns in minutes."""

import dataclasses

from jflows.data.known import orl_faces

DATA = dataclasses.replace(
    orl_faces.DATA,
    name="orl_faces_small",
    title="ORL faces, 10 images each of 40 people, 56x44 gray",
    notes=f"Two columns are cut off at each side, and 2x2 pixels averaged. {orl_faces.DATA.notes}",
    event_shape=(56, 44, 1),
    read=orl_faces.read_small,
)
