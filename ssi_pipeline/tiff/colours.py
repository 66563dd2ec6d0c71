"""Pages whose numbers are no intensities."""

from __future__ import annotations

from typing import Any

from ssi_pipeline.errors import InputError

_PALETTE, _MASK, _CFA = 3, 4, 32803

_NO_INTENSITY = {
    _PALETTE: "indices into a colour table (palette), not intensities: convert it to grey, in ImageJ with "
    "Image > Type > 8-bit, or take the raw data",
    _MASK: "a transparency mask, not intensities",
    _CFA: "a Bayer pattern (each pixel is of another colour): take one colour plane of it",
}


def refuse_colours(page: Any, where: str) -> None:
    """Refuse a page whose numbers mean colours or nothing.

    Raises
    ------
    InputError
        It has a colour table, is a mask or a mosaic, or of a type without numbers.
    """
    kind = _NO_INTENSITY.get(int(page.photometric))
    if kind is not None:
        raise InputError(f"{where} holds {kind}")
    if page.dtype is None:
        raise InputError(
            f"{where} has {page.bitspersample} bits per pixel of sample format {page.sampleformat}; "
            "expected integers or floats of 8, 16, 32 or 64 bits"
        )
