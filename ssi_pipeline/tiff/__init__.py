"""What the reader of images and the reader of PSFs must both know of TIFF files before they trust one."""
