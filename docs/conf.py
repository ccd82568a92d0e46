"""How Sphinx makes the site: ``sphinx-build -W --keep-going docs docs/_build``."""

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # of the checkout, installed or not

from docutils import nodes  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

import generate  # noqa: E402
import gputensor  # noqa: E402

project = "gputensor"
author = "the authors of gputensor"
release = version = gputensor.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nitpicky = True  # a reference to nothing is a warning, and warnings are errors
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|scipy|cupy|numba|matplotlib)\..*"),
    # Names that belong to a class whose members have no entry of their own.
    ("py:(meth|attr)", r".*"),
]

autosummary_generate = False
autodoc_typehints = "none"  # docstrings say types, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
python_display_short_literal_types = True

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "gputensor"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options: dict[str, Any] = {
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars: dict[str, list[str]] = {
    name: [] for name in ("tour", "idea", "benchmarks", "contributing", "changelog")
}

# External links are not fetched where there is no network: ``docs/external_links.txt`` lists them.
linkcheck_timeout = 10


def _site_links(_app: Any, name: str, text: list[str]) -> None:
    """Links that are right on a code host, to files beside ``docs``, as links of the site."""
    beside = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
    if name in beside:  # the page is that file
        text[0] = (HERE.parent / beside[name]).read_text("utf-8")
        text[0] = re.sub(r"\]\((?!https?:|docs/|#)", "](../", text[0]).replace("](docs/", "](/")
    if name.startswith("zh/"):  # Chinese has no space where a line ends
        text[0] = re.sub(
            r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff\uff00-\uffef“])", "", text[0]
        )
    for page, file in beside.items():
        text[0] = re.sub(rf"\]\((?:\.\./)+{re.escape(file)}", f"](/{page}.md", text[0])
    # Other texts that are no pages are named, without a link.
    text[0] = re.sub(r"\[([^\]]+)\]\((?:\.\./)+[\w./]*README\.md\)", r"\1", text[0])


def _plain_stars(_app: Any, _what: str, _name: str, _thing: Any, _: Any, lines: list[str]) -> None:
    """Shapes such as ``(*shape, n)``, whose star begins no emphasis."""
    for i, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [re.sub(r"(?<=[(,\s])\*(?=[a-z])", r"\*", p) for p in parts[::2]]
        if not line.lstrip().startswith(("*", ">>>", "...")):
            lines[i] = "``".join(parts)


# Functions of the doors that share a docstring with others are named there as they are here.
_PLACES = ("gputensor.torch.nn.functional", "gputensor.torch", "gputensor", "gputensor.linalg")


def _elsewhere(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A function that a docstring names without its module, and that is not in its own."""
    if node.get("refdomain") != "py" or node.get("reftype") != "func":
        return None
    objects = env.get_domain("py")
    for place in _PLACES:
        name = f"{place}.{node['reftarget']}"
        if name in objects.objects:
            return objects.resolve_xref(
                env, node["refdoc"], app.builder, "func", name, node, content
            )
    return None


def _mathml(display: str) -> Any:
    """Formulas as MathML, which browsers show without a script from elsewhere."""

    def visit(self: Any, node: Any) -> None:
        tag = "div" if display == "block" else "span"
        self.body.append(f'<{tag} class="formula">{convert(node.astext(), display)}</{tag}>')
        raise nodes.SkipNode

    return visit, None


def _breaks(_app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Where code in tables may break: between names, so that columns fit a phone."""

    def cell(found: re.Match[str]) -> str:
        return re.sub(
            r'(?<=<span class="pre">)[^<]+',
            lambda code: re.sub(r"((?<!\d)\.|[_,=/]|\w[(\[])(?=[A-Za-z'\"])", r"\1<wbr>", code[0]),
            found[0],
        )

    if "body" in context:
        context["body"] = re.sub(r"<td>.*?</td>", cell, context["body"], flags=re.DOTALL)


def setup(app: Any) -> None:
    generate.write(HERE / "generated")
    app.add_html_math_renderer("mathml", _mathml("inline"), _mathml("block"))
    app.connect("source-read", _site_links)
    app.connect("missing-reference", _elsewhere)
    app.connect("html-page-context", _breaks)
    app.connect("autodoc-process-docstring", _plain_stars, priority=400)  # before numpydoc
