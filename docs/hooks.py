"""What MkDocs does beyond its configuration: pages from outside of docs/, links to the source, the architectures.

- `PAGES` become pages of the site; they stay where readers of the repository look for them.
- A link to a file of the repository that is not a page leads to a copy of it, below `source/`.
- `architectures/` in the navigation stands for its index page and, in its order, every page that it links to.
- `::: kerascnn.applications.*` stands for every family's module, so that the reference needs no list of them.
- The search is mended: lunr takes different parts of its index for the same where words hold digits, and then fails for
  words that it has.
- Linked images in HTML, which the index page has for their width, become Markdown, so that MkDocs checks them.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGES = {
    "README.md": "index.md",
    "serving/README.md": "serve.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
_HTML_IMAGE = re.compile(r'<a href="([^"]+)"><img src="([^"]+)" width="(\d+)" alt="([^"]+)"></a>')
_LUNR = "e=e+s+o.id"  # in TokenSet.prototype.toString
_FAMILIES = "::: kerascnn.applications.*"
_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the architectures into the navigation."""
    index = (DOCS / "architectures" / "README.md").read_text(encoding="utf-8")
    pages = dict.fromkeys(re.findall(r"\]\((\w+\.md)\)", index))
    for entry in config.nav or []:
        if isinstance(entry, dict) and "Architectures" in entry:
            entry["Architectures"] = [f"architectures/{page}" for page in ("README.md", *pages)]
    return config


def on_post_build(config: MkDocsConfig) -> None:
    """Let lunr tell apart the nodes of its index: a label, the number of a node, and now where that number ends.

    Raises:
        RuntimeError: This release of the search is another one. See whether it still needs this.
    """
    (worker,) = Path(config.site_dir).glob("assets/javascripts/workers/search.*.min.js")
    text = worker.read_text(encoding="utf-8")
    if text.count(_LUNR) != 1:
        raise RuntimeError(f"{worker.name} does not hold {_LUNR!r} once.")
    worker.write_text(text.replace(_LUNR, _LUNR + '+";"'), encoding="utf-8")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of docs/, and the files that any page links to."""
    for source, page in PAGES.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for file in list(files.documentation_pages()):
        path = Path(str(file.abs_src_path))
        for target in _LINK.findall(_CODE.sub("", path.read_text(encoding="utf-8"))):
            copy = destination(path, target)
            if copy.startswith("source/") and files.get_file_from_path(copy) is None:
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / copy.removeprefix("source/"))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links in a page lead to where their targets are on the site, and name the families in the reference."""
    source = Path(str(page.file.abs_src_path))
    here = os.path.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        return os.path.relpath(destination(source, link[1]), here or ".")

    markdown = markdown.replace(_FAMILIES, "\n\n".join(families()))
    parts = _CODE.split(markdown)  # code blocks are at odd places
    for i in range(0, len(parts), 2):
        parts[i] = _LINK.sub(moved, _HTML_IMAGE.sub(r"[![\4](\2){ width=\3 }](\1)", parts[i]))
    return "".join(parts)


def families() -> list[str]:
    """Return a directive for each module that `kerascnn.applications` imports, with the names that it imports."""
    imports = ast.parse((ROOT / "kerascnn" / "applications" / "__init__.py").read_text(encoding="utf-8")).body
    modules = {node.module: [name.name for name in node.names] for node in imports if isinstance(node, ast.ImportFrom)}
    options = {module: [] if names == ["*"] else [f"members: {names}"] for module, names in modules.items()}
    return [f"::: {module}\n    options: {{{', '.join(['heading_level: 3', *options[module]])}}}" for module in modules]


def destination(source: Path, target: str) -> str:
    """Return where the target of a link in the file `source` is on the site; MkDocs reports what does not exist."""
    path = Path(os.path.normpath(source.parent / target))
    if path.is_relative_to(DOCS) and path.suffix not in (".py", ".toml"):
        return path.relative_to(DOCS).as_posix()
    if not path.is_relative_to(ROOT) or not path.is_file():
        return target
    inside = path.relative_to(ROOT).as_posix()
    return PAGES.get(inside, f"source/{inside}")
