"""The site, which `make docs` makes of this folder by Sphinx."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
from generated import filled

# Autodoc imports what is not there yet as type checkers do, which pydantic's models cannot take.
import ortist.serve.app  # noqa: F401

MADE_BY_ENGINE = ("ortist.engine.Run", "ortist.engine.Plan")

project = "ortist"
html_title = project
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Dashes, no quotation marks.
smartquotes_action = "D"
highlight_language = "none"
myst_heading_anchors = 4
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_type_aliases = {
    name: name for name in ("ImageSource", "Names", "Shape", "State", "Styles", "Target", "Tensor")
}
autodoc_default_options = {"exclude-members": "__init__, __new__"}
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False


def setup(app: Sphinx) -> None:
    """Fill in what is generated whenever a page is read, and mend signatures."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-signature", mend)


def fill(app: Sphinx, name: str, content: list[str]) -> None:
    """Fill in a page."""
    content[0] = filled(content[0])


def mend(
    app: Sphinx, kind: str, name: str, what: object, options: object, signature: str, returned: str
) -> tuple[str, str] | None:
    """Return a signature, and what is returned, without words of autodoc's own.

    Pydantic's models, and what only the engine makes, get none.
    """
    if kind == "class" and (name in MADE_BY_ENGINE or hasattr(what, "model_fields")):
        return "", ""
    if not signature:
        return None
    signature = signature.replace("<factory>", "...")
    alias = r"TypeAliasForwardRef\('(\w+)'\)"
    return re.sub(alias, r"\1", signature), re.sub(alias, r"\1", returned or "")
