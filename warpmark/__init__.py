"""Warpmark for those who use it: landmarks on pictures and videos in a few lines of Python."""
