"""Files inside a Debian package."""

import io
import tarfile
from pathlib import Path

from jflows.errors import DataError


def members_of(path: Path) -> dict[str, bytes]:
    """The files inside a Debian package: an `ar` file with a 60-byte header before each part, one being a tar.

    Raises:
      DataError: if the file is not a Debian package.
    """
    raw, offset = path.read_bytes(), len(b"!<arch>\n")
    while offset < len(raw):
        name = raw[offset : offset + 16].decode().strip().rstrip("/")
        size = int(raw[offset + 48 : offset + 58])
        start = offset + 60
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(raw[start : start + size])) as archive:
                pairs = ((member.name, archive.extractfile(member)) for member in archive if member.isfile())
                return {name: file.read() for name, file in pairs if file is not None}
        offset = start + size + size % 2  # parts begin at even offsets
    raise DataError("load", str(path), "must be a Debian package with a data.tar part", "none", "Delete it and retry.")
