"""A hook of mkdocs: documents link source files beside `docs/`, which are no pages of the site.

Such a link leads to the repository's page of the file when `repo_url` is known, and is plain text otherwise. Links
between documents stay as they are, for `mkdocs build --strict` to check; that the other ones lead to existing files
is checked by tests/unit/test_docs_links.py.
"""

from __future__ import annotations

import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\[([^\]]*)\]\((\.\.?/[^)\s]*)\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page's text, its links that leave `docs/` replaced."""

    def replaced(found: re.Match[str]) -> str:
        text, target = found.groups()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), target))
        if path.startswith("docs/"):
            return found[0]
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path})" if config.repo_url else text

    return _LINK.sub(replaced, markdown)
