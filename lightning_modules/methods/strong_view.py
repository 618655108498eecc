"""The former place of :class:`StrongView`, which configurations saved by earlier runs name."""

from lightning_modules.augment.strong_view import StrongView

__all__ = ["StrongView"]
