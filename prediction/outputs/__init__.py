"""What prediction writes: points, tables, overlays, and a page to look through."""
