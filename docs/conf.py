"""The site of README.md and docs/: `nox -s docs`.

The pages are read where they lie, so that a link means the same here and on GitHub: to a page, to a heading, to a file.
"""

from typing import Any

project = "Yorutsuke batch results"
root_doc = "README"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**"]
exclude_patterns = [".[!/]*", "dist", "docs/site"]
nitpicky = True

myst_heading_anchors = 4
"""As GitHub names them."""
myst_fence_as_directive = ["mermaid"]

mermaid_cmd = "mermaidx"
mermaid_output_format = "svg"
"""Drawn here: a reader's browser asks nobody for mermaid."""

html_theme = "furo"
html_title = project
html_extra_path = ["site"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False

CONTENTS = {
    "README": ("docs/architecture", "docs/*", "docs/decisions/README", "CONTRIBUTING", "CHANGELOG"),
    "docs/decisions/README": ("*",),
}
"""What stands in the sidebar below a page. A page that is in none of it is a warning."""


def setup(app: Any) -> None:
    """Give the pages their contents, of which GitHub would show the directive."""
    app.connect("source-read", _with_contents)


def _with_contents(_app: Any, page: str, source: list[str]) -> None:
    if page in CONTENTS:
        source[0] += "\n".join(["\n```{toctree}", ":glob:", ":hidden:", "", *CONTENTS[page], "```\n"])
