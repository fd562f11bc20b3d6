"""TFRecord files without TensorFlow: records framed by lengths and checksums, and protocol buffers by field numbers."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from xnas_ray.errors import TableError

BATCH = 4096
MAX_RECORD_BYTES = 64 * 1024 * 1024

_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
_HEADER = struct.Struct("<QI")  # length, masked checksum of the length
_FOOTER = struct.Struct("<I")  # masked checksum of the data

FieldValue = int | float | bytes


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, every length and every checksum verified.

    A record is ``uint64 length, uint32 crc(length), data, uint32 crc(data)``, little-endian, with CRC-32C masked as
    ``rotate_right(crc, 15) + 0xa282ead8``.

    Raises:
        TableError: the file is cut short or damaged; the message gives the byte where.
    """
    with path.open("rb") as file:
        frames = _frames(file, path)
        while batch := list(islice(frames, BATCH)):
            lengths = checksums([struct.pack("<Q", len(data)) for _, data, _, _ in batch])
            found = checksums([data for _, data, _, _ in batch])
            for (offset, data, length_crc, data_crc), a, b in zip(batch, lengths, found, strict=True):
                if int(a) != length_crc or int(b) != data_crc:
                    raise TableError(f"checksum mismatch in the record at byte {offset}.", field=str(path))
                yield data


def checksums(blocks: Sequence[bytes]) -> np.ndarray:
    """Masked CRC-32C of every block, as uint32; byte by byte, but for all blocks at once."""
    order = sorted(range(len(blocks)), key=lambda i: -len(blocks[i]))
    lengths = np.array([len(blocks[i]) for i in order])
    width = int(lengths[0]) if len(lengths) else 0
    crc = np.full(len(blocks), 0xFFFFFFFF, dtype=np.uint32)
    table = _crc_table()
    for start in range(0, width, BATCH):  # a slab of columns at a time, so that memory stays bounded
        active = int(np.searchsorted(-lengths, -start, side="left"))  # blocks longer than start
        slab = np.zeros((active, min(BATCH, width - start)), dtype=np.uint8)
        for row, i in enumerate(order[:active]):
            part = blocks[i][start : start + BATCH]
            slab[row, : len(part)] = np.frombuffer(part, dtype=np.uint8)
        slab = np.ascontiguousarray(slab.T)
        for column, values in enumerate(slab, start=start):
            count = int(np.searchsorted(-lengths, -column, side="left"))
            state = crc[:count]
            crc[:count] = table[(state ^ values[:count]) & 0xFF] ^ (state >> np.uint32(8))
    crc = ~crc
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
    result = np.empty_like(masked)
    result[order] = masked
    return result


def fields(message: bytes) -> Iterator[tuple[int, FieldValue]]:
    """(field number, value) of a protocol-buffer message: ints of varints, floats of 32 and 64 bits, bytes.

    Raises:
        ValueError: the message is malformed.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value: FieldValue
            value, position = _varint(message, position)
        elif wire in (1, 5):
            size, code = (8, "<d") if wire == 1 else (4, "<f")
            value = struct.unpack(code, _slice(message, position, size))[0]
            position += size
        elif wire == 2:
            size, position = _varint(message, position)
            value = _slice(message, position, size)
            position += size
        else:
            raise ValueError(f"wire type {wire} in field {number}")
        yield number, value


def _frames(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes, int, int]]:
    """(offset, data, masked checksum of the length, masked checksum of the data) of every record."""
    offset = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise TableError(f"cut short in the record at byte {offset}.", field=str(path))
        length, length_crc = _HEADER.unpack(header)
        if length > MAX_RECORD_BYTES:
            raise TableError(f"not a TFRecord: {length:,} bytes announced at byte {offset}.", field=str(path))
        data, footer = file.read(length), file.read(_FOOTER.size)
        if len(data) < length or len(footer) < _FOOTER.size:
            raise TableError(f"cut short in the record at byte {offset}.", field=str(path))
        yield offset, data, length_crc, _FOOTER.unpack(footer)[0]
        offset += _HEADER.size + length + _FOOTER.size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError("cut short in a number")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _slice(message: bytes, position: int, size: int) -> bytes:
    if position + size > len(message):
        raise ValueError("cut short in a field")
    return message[position : position + size]


@cache
def _crc_table() -> np.ndarray:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & np.uint32(1), (crc >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), crc >> np.uint32(1))
    return crc
