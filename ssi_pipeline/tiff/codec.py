"""Check that the pixels of a page can be decoded."""

from __future__ import annotations

from typing import Any

import tifffile

from ssi_pipeline.errors import InputError


def refuse_codec(page: Any, where: str) -> None:
    """Refuse pixels whose compression, predictor or packing needs a missing package.

    Raises
    ------
    InputError
        Names the codec, and how to install it.
    """
    try:
        if page.compression != 1:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
    except KeyError as error:
        raise InputError(_advice(f"compressed with {_name(page)}", error, where)) from None
    try:
        if page.predictor != 1:
            tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        raise InputError(_advice(f"stored with the predictor {_predictor(page)}", error, where)) from None


def refuse_undecodable(page: Any, where: str) -> None:
    """Refuse pixels that fail only on decoding: packed bits and codecs that need imagecodecs.

    Raises
    ------
    InputError
        The first strip or tile needs a missing package.
    """
    if page.is_final or not page.databytecounts or not 0 < page.databytecounts[0] <= _LARGEST:
        return
    file = page.parent.filehandle
    closed = file.closed
    try:
        if closed:
            file.open()
        file.seek(page.dataoffsets[0])
        page.decode(file.read(page.databytecounts[0]), 0, jpegtables=page.jpegtables)
    except Exception as error:  # damaged segments are reported by the affected tiles
        if "imagecodecs" in str(error) or isinstance(error, (ImportError, NotImplementedError)):
            packed = f"stored with {page.bitspersample} bits per pixel"
            what = packed if page.compression == 1 else f"compressed with {_name(page)}"
            raise InputError(_advice(what, error, where)) from None
    finally:
        if closed:
            file.close()


_LARGEST = 2**26
"""A strip of 64 MiB is decoded in less than a second."""


def _advice(what: str, error: Exception, where: str) -> str:
    text = str(error.args[0] if error.args else error)
    if "not supported" in text or "not a known" in text or "not implemented" in text:
        return f"{where} is {what}: {text}. Save it uncompressed or with deflate (zlib)"
    return (
        f"{where} is {what}, which needs the package imagecodecs: pip install imagecodecs where the workers run, "
        "or save it uncompressed or with deflate (zlib)"
    )


def _name(page: Any) -> str:
    try:
        return str(tifffile.COMPRESSION(page.compression).name)
    except ValueError:
        return f"codec {page.compression}"


def _predictor(page: Any) -> str:
    try:
        return str(tifffile.PREDICTOR(page.predictor).name)
    except ValueError:
        return str(page.predictor)
