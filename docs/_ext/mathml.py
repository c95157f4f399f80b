"""Mathematics as MathML, written when the site is built: a browser shows it without a script or a font of others."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def mathml(tex: str, display: str = "inline") -> str:
    """Return TeX as MathML.

    Raises:
        ValueError: if a command is left in it, which a reader would see as text.
    """
    found: str = convert(tex, display=display)
    if "\\" in found:
        raise ValueError(f"latex2mathml does not know all of {tex!r}; it makes {found}")
    return found


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
