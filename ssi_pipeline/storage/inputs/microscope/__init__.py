"""Files of microscopes, through the readers of the extra ``formats``: ND2 (Nikon), CZI (Zeiss), LIF (Leica)."""
