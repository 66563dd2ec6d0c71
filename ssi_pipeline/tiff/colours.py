"""Check that pixel values are intensities."""

from __future__ import annotations

from typing import Any

from ssi_pipeline.errors import InputError

_PALETTE, _MASK, _CFA = 3, 4, 32803

_NO_INTENSITY = {
    _PALETTE: "indices into a colour table (palette), not intensities: convert it to grey, in ImageJ with "
    "Image > Type > 8-bit, or use the raw data",
    _MASK: "a transparency mask, not intensities",
    _CFA: "a Bayer pattern: extract one colour plane",
}


def refuse_colours(page: Any, where: str) -> None:
    """Refuse a page whose values are not intensities.

    Raises
    ------
    InputError
        It has a colour table, is a mask or a Bayer pattern, or has a non-numeric type.
    """
    kind = _NO_INTENSITY.get(int(page.photometric))
    if kind is not None:
        raise InputError(f"{where} contains {kind}")
    if page.dtype is None:
        raise InputError(
            f"{where} has {page.bitspersample} bits per pixel of sample format {page.sampleformat}; "
            "expected integers or floats of 8, 16, 32 or 64 bits"
        )
