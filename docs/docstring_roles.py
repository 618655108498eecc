"""Docstrings name things by Sphinx's roles; this extension of griffe writes them as code, for Markdown."""

import re
from typing import Any, Final

import griffe

_EXAMPLE: Final = re.compile(r"^( +)(?=warpmark )", re.MULTILINE)
_ROLE: Final = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?(?:[\w.]+\.)?(\w+)`")


class DocstringRoles(griffe.Extension):
    """Turns ``:class:`~package.Name``` into ``Name``, before sections are parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of every module, class, function and attribute."""
        if obj.docstring:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            # Examples of commands become a block of code.
            obj.docstring.value = _EXAMPLE.sub(r"\1    ", text)
