"""Numeric columns of a data frame in R's own file format (.rda, serialisation version 2 or 3, XDR).

Format: "R Internals", section 1.8, Serialization Formats. Only what plain data frames hold is understood.
"""

import bz2
import gzip
import lzma
import struct
from typing import Any

import numpy as np

from jflows.errors import DataError

_OPENERS = {b"\x1f\x8b": gzip.decompress, b"BZ": bz2.decompress, b"\xfd7": lzma.decompress}
_SYMBOL, _PAIRS, _CHARS, _LOGICALS, _INTEGERS, _REALS, _STRINGS, _LIST = 1, 2, 9, 10, 13, 14, 16, 19
_NULL, _REFERENCE = 254, 255
_HAS_ATTRIBUTES, _HAS_TAG = 0x200, 0x400


def read_real_columns(raw: bytes, name: str) -> dict[str, np.ndarray]:
    """The columns of type `numeric` of the one data frame in an .rda file, by name and in order, as float64.

    Raises:
      DataError: if the file does not hold one data frame in this format.
    """
    try:
        data = _OPENERS[raw[:2]](raw)
        reader = _Reader(data)
        (frame,) = reader.pairs_of_file()
        values, attributes = frame
        return {key: value for key, (value, _) in zip(attributes["names"], values, strict=True) if value.dtype == ">f8"}
    except (KeyError, ValueError, TypeError, AttributeError, EOFError, OSError, lzma.LZMAError, struct.error) as error:
        rule = "must be an .rda file with one data frame"
        raise DataError("load", name, rule, f"{type(error).__name__}: {error}", "Delete it and retry.") from error


class _Reader:
    """Reads items one after the other; an item is (value, attributes by name)."""

    def __init__(self, data: bytes):
        self.data, self.at, self.symbols = data, 0, []

    def pairs_of_file(self) -> list[tuple[Any, dict[str, Any]]]:
        if self.take(7) not in (b"RDX2\nX\n", b"RDX3\nX\n"):
            raise ValueError("not the binary form of R's save()")
        version = self.integer()
        self.take(8)  # versions of R that wrote it and that can read it
        if version == 3:
            self.take(self.integer())  # name of the native encoding
        return [value for _, value in self.pairs(self.integer())]

    def take(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self.data):
            raise EOFError("it ends too early")
        return self.data[self.at - size : self.at]

    def integer(self) -> int:
        return struct.unpack(">i", self.take(4))[0]

    def vector(self, dtype: str) -> np.ndarray:
        num = self.integer()
        return np.frombuffer(self.take(num * np.dtype(dtype).itemsize), dtype)

    def pairs(self, flags: int) -> list[tuple[str, Any]]:
        """A linked list of (tag, item); attributes and the file itself are such lists."""
        found = []
        while flags & 0xFF == _PAIRS:
            if flags & _HAS_ATTRIBUTES:
                raise ValueError("attributes of a pair list")
            tag = self.item()[0] if flags & _HAS_TAG else ""
            found.append((tag, self.item()))
            flags = self.integer()
        if flags & 0xFF != _NULL:
            raise ValueError(f"type {flags & 0xFF} in a pair list")
        return found

    def item(self) -> tuple[Any, dict[str, Any]]:
        flags = self.integer()
        kind = flags & 0xFF
        if kind == _SYMBOL:
            self.symbols.append(self.item()[0])
            return self.symbols[-1], {}
        if kind == _REFERENCE:
            return self.symbols[(flags >> 8) - 1], {}
        if kind == _CHARS:
            size = self.integer()
            return None if size == -1 else self.take(size).decode("latin1"), {}
        if kind == _STRINGS:
            value: Any = [self.item()[0] for _ in range(self.integer())]
        elif kind == _LIST:
            value = [self.item() for _ in range(self.integer())]
        elif kind in (_INTEGERS, _LOGICALS, _REALS):
            value = self.vector(">f8" if kind == _REALS else ">i4")
        elif kind == _NULL:
            return None, {}
        else:
            raise ValueError(f"R type {kind}")
        attributes = self.pairs(self.integer()) if flags & _HAS_ATTRIBUTES else []
        return value, {tag: attribute[0] for tag, attribute in attributes}
