"""Small ND2, CZI and LIF files, written byte by byte: no library of a permissive licence writes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

Pixels = NDArray[np.uint16]


# ND2: chunks (magic, length of the name, length of the data), and a map of them at the end


def write_nd2(path: Path, pixels: Pixels, names: list[str], lost: tuple[int, ...] = (), positions: int = 1) -> None:
    """Write ``pixels`` (t z c y x); ``lost``: frames that are not written."""
    times, planes, channels, height, width = pixels.shape
    count = positions * times * planes
    raw = bytearray()
    chunks: dict[str, tuple[int, int]] = {}

    def chunk(name: str, data: bytes, reserve: int | None = None) -> None:
        padded = name.encode().ljust(reserve if reserve is not None else 20 + len(name), b"\0")
        chunks[name] = (len(raw), len(data))
        raw.extend(struct.pack("<IIQ", 0x0ABECEDA, len(padded), len(data)) + padded + data)

    raw.extend(
        struct.pack("<IIQ", 0x0ABECEDA, 32, 64) + b"ND2 FILE SIGNATURE CHUNK NAME01!" + b"Ver3.0".ljust(64, b"\0")
    )
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * channels * 2,
        "uiHeight": height,
        "uiComp": channels,
        "uiBpcInMemory": 16,
        "uiBpcSignificant": 16,
        "uiSequenceCount": count,
        "eCompression": 2,
    }
    chunk("ImageAttributesLV!", _variant({"SLxImageAttributes": attributes}))
    picture = {
        "bCalibrated": True,
        "dCalibration": 0.1,
        "dObjectiveNA": 1.2,
        "dRefractIndex1": 1.33,
        "sPicturePlanes": {
            "uiCount": channels,
            "sPlaneNew": {
                f"a{i}": {
                    "sDescription": name,
                    "uiCompCount": 1,
                    "pFluorescentProbe": {"m_EmissionSpectrum": {"bPoint": True}},
                }
                for i, name in enumerate(names)
            },
        },
    }
    chunk("ImageMetadataSeqLV|0!", _variant({"SLxPictureMetadata": picture}))
    loops: list[tuple[int, dict[str, Any]]] = []
    if positions > 1:
        points = {
            f"i{i:010}": {"dPosX": 0.0, "dPosY": 0.0, "dPosZ": 0.0, "dPosName": f"well {i}"} for i in range(positions)
        }
        loops.append((2, {"uiCount": positions, "Points": points}))
    if times > 1:
        loops.append((1, {"uiCount": times, "dStart": 0.0, "dPeriod": 2000.0, "dDuration": 2000.0 * times}))
    if planes > 1:
        loops.append((4, {"uiCount": planes, "dZStep": 0.3, "dZLow": 0.0, "dZHigh": 0.3 * (planes - 1)}))
    chunk("ImageMetadataLV!", _variant({"SLxExperiment": _nested(loops)}))
    frames = np.concatenate([pixels.reshape(-1, channels, height, width)] * positions)
    for i, frame in enumerate(frames):
        if i not in lost:
            name = f"ImageDataSeq|{i}!"
            # frames begin 4096 bytes after their chunk: header, name, and the time in 8 bytes
            chunk(name, struct.pack("<d", 0.0) + frame.transpose(1, 2, 0).tobytes(), 4096 - 16 - 8)
    at = len(raw)
    table = b"".join(name.encode() + struct.pack("<QQ", *place) for name, place in chunks.items())
    table += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", at)
    raw.extend(struct.pack("<IIQ", 0x0ABECEDA, 32, len(table)) + b"ND2 FILEMAP SIGNATURE NAME 0001!" + table)
    path.write_bytes(bytes(raw))


def _nested(loops: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    if not loops:
        return {}
    (kind, parameters), *inner = loops
    below = {"ppNextLevelEx": {"i0000000000": _nested(inner)}} if inner else {}
    return {"eType": kind, "uLoopPars": parameters, **below}


def _variant(document: Mapping[str, Any]) -> bytes:
    return f'<variant version="1.0">{"".join(_node(k, v) for k, v in document.items())}</variant>'.encode()


def _node(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"<{name}>{''.join(_node(k, v) for k, v in value.items())}</{name}>"
    kinds = {bool: "bool", int: "lx_uint32", float: "double", str: "CLxStringW"}
    return f'<{name} runtype="{kinds[type(value)]}" value="{value}"/>'


# LIF: an XML header in UTF-16, then memory blocks


def write_lif(path: Path, images: Mapping[str, Pixels], cut: bool = False) -> None:
    """Write images (t c z y x) by name; ``cut``: the last one ends in its middle."""
    elements, blocks = [], b""
    for i, (name, pixels) in enumerate(images.items()):
        times, channels, planes, height, width = pixels.shape
        plane = height * width * 2
        dims = [
            (1, width, 0.1e-6 * (width - 1), "m", 2),
            (2, height, 0.1e-6 * (height - 1), "m", width * 2),
            (3, planes, 0.4e-6 * (planes - 1), "m", plane * channels),
            (4, times, 5.0 * (times - 1), "s", plane * channels * planes),
        ]
        described = "".join(
            f'<DimensionDescription DimID="{d}" NumberOfElements="{n}" Origin="0" Length="{length}" Unit="{unit}" '
            f'BytesInc="{step}" BitInc="0"/>'
            for d, n, length, unit, step in dims
            if n > 1
        )
        lines = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0" '
            f'Max="65535" Unit="" LUTName="Gray" IsLUTInverted="0" BytesInc="{c * plane}" BitInc="0"/>'
            for c in range(channels)
        )
        data = pixels.transpose(0, 2, 1, 3, 4).tobytes()
        elements.append(
            f'<Element Name="{name}"><Data><Image><ImageDescription><Channels>{lines}</Channels><Dimensions>'
            f'{described}</Dimensions></ImageDescription><Attachment Name="HardwareSetting"><ATLConfocal'
            f'SettingDefinition NumericalAperture="1.4" RefractionIndex="1.52"/></Attachment></Image></Data>'
            f'<Memory Size="{len(data)}" MemoryBlockID="MemBlock_{i}"/></Element>'
        )
        block = f"MemBlock_{i}"
        blocks += struct.pack("<IIBQBI", 0x70, 2 * len(block) + 14, 0x2A, len(data), 0x2A, len(block))
        blocks += block.encode("utf-16-le") + data
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="project"><Children>'
        + "".join(elements)
        + "</Children></Element></LMSDataContainerHeader>"
    )
    head = struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)) + xml.encode("utf-16-le")
    whole = head + blocks
    path.write_bytes(whole[: len(whole) - 100] if cut else whole)


# CZI: segments of a header of 32 bytes


def write_czi(
    path: Path,
    pixels: Pixels,
    names: list[str],
    compression: int = 0,
    tile: int | None = None,
    overlap: int = 0,
    scenes: int = 1,
    lost: int = 0,
    pending: bool = False,
) -> None:
    """Write ``pixels`` (t c z y x), each plane as tiles of ``tile`` columns that overlap; ``lost``: last subblocks."""
    times, channels, planes, height, width = pixels.shape
    blocks = []
    for scene in range(scenes):
        for t, c, z in np.ndindex(times, channels, planes):
            step = (tile or width) - overlap
            for m, left in enumerate(range(0, width - overlap, step)):
                part = pixels[t, c, z, :, left : left + (tile or width)]
                places = {"X": (left, part.shape[1]), "Y": (0, height), "C": (c, 1), "Z": (z, 1), "T": (t, 1)}
                places |= {"S": (scene, 1), "M": (m, 1)}
                blocks.append((places, np.ascontiguousarray(part)))
    raw = bytearray(32 + 512)
    entries = []
    for places, part in blocks[: len(blocks) - lost]:
        position = len(raw)
        entry = _entry(places, position, compression)
        data = _compressed(part, compression)
        body = struct.pack("<iiq", 0, 0, len(data)) + entry
        body += b"\0" * max(0, 240 - len(entry)) + data
        raw.extend(_segment("ZISRAWSUBBLOCK", body))
        entries.append(entry)
    directory = len(raw)
    raw.extend(_segment("ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries)))
    metadata = len(raw)
    xml = _czi_xml(names).encode()
    raw.extend(_segment("ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml))
    header = struct.pack(
        "<iiii16s16siqqiq", 1, 0, 0, 0, b"\1" * 16, b"\1" * 16, 0, directory, metadata, int(pending), 0
    )
    raw[: 32 + 512] = _segment("ZISRAWFILE", header.ljust(512, b"\0"))
    path.write_bytes(bytes(raw))


def _entry(places: Mapping[str, tuple[int, int]], position: int, compression: int) -> bytes:
    gray16 = 1
    head = struct.pack("<2siqiiBB4xi", b"DV", gray16, position, 0, compression, 0, 0, len(places))
    return head + b"".join(
        struct.pack("<4siifi", name.encode(), start, size, 0.0, size) for name, (start, size) in places.items()
    )


def _segment(name: str, body: bytes) -> bytes:
    return struct.pack("<16sqq", name.encode(), len(body), len(body)) + body


def _compressed(part: Pixels, compression: int) -> bytes:
    if compression == 5:
        return bytes(Zstd().encode(part.tobytes()))
    if compression == 6:  # a header of three bytes: low bytes first, then high bytes
        apart = part.view(np.uint8).reshape(-1, 2).T.tobytes()
        return b"\3\1\1" + bytes(Zstd().encode(apart))
    return part.tobytes()


def _czi_xml(names: list[str]) -> str:
    channels = "".join(
        f'<Channel Id="Channel:{i}" Name="{name}"><EmissionWavelength>525</EmissionWavelength></Channel>'
        for i, name in enumerate(names)
    )
    distances = "".join(
        f'<Distance Id="{axis}"><Value>{value}</Value></Distance>'
        for axis, value in (("X", 1e-7), ("Y", 1e-7), ("Z", 3e-7))
    )
    return (
        "<ImageDocument><Metadata><Information><Image><ObjectiveSettings><RefractiveIndex>1.33</RefractiveIndex>"
        f"</ObjectiveSettings><Dimensions><Channels>{channels}</Channels></Dimensions></Image><Instrument><Objectives>"
        '<Objective Id="Objective:1"><LensNA>1.2</LensNA></Objective></Objectives></Instrument></Information>'
        f"<Scaling><Items>{distances}</Items></Scaling></Metadata></ImageDocument>"
    )
