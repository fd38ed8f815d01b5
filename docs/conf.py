"""The site of README.md and docs/: `./nox -s docs`.

The pages stay in their folders, so that a link to a page, a heading or a file works on the site and on GitHub.
"""

from typing import Any

project = "Yorutsuke batch results"
root_doc = "README"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**"]
exclude_patterns = [".[!/]*", "dist", "docs/site"]
nitpicky = True

myst_heading_anchors = 4
"""Levels of headings that get an anchor, named as on GitHub."""
myst_fence_as_directive = ["mermaid"]

mermaid_cmd = "mermaidx"
mermaid_output_format = "svg"
"""The build draws the diagrams, so that a reader's browser loads no script."""

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_title = project
html_extra_path = ["site"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False

CONTENTS = {
    "README": {
        "Tutorial": ("docs/tutorial",),
        "How-to": ("docs/demo", "docs/deploying", "docs/submitting", "docs/operating", "docs/runbook", "docs/testing"),
        "Reference": (
            "docs/configuration",
            "docs/data-model",
            "docs/outputs",
            "docs/events",
            "docs/resources",
            "docs/glossary",
        ),
        "Explanation": ("docs/architecture", "docs/decisions/README"),
        "Development": ("CONTRIBUTING", "CHANGELOG"),
    },
    "docs/decisions/README": {"Decisions": ("*",)},
}
"""Captions and pages in the sidebar below a page. Sphinx warns about a page that is missing here."""


def setup(app: Any) -> None:
    """Add the tables of contents to the pages. In the files, GitHub would show the directives as text."""
    app.connect("source-read", _with_contents)


def _with_contents(_app: Any, page: str, source: list[str]) -> None:
    if page in CONTENTS:
        for caption, pages in CONTENTS[page].items():
            options = [":glob:", ":hidden:", f":caption: {caption}"]
            source[0] += "\n".join(["\n```{toctree}", *options, "", *pages, "```\n"])
