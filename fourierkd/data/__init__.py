"""Data sets: in flow parameters or files of other formats, out flow images, masks and COCO JSON."""
