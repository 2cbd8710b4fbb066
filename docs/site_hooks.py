"""Hooks of mkdocs: the navigation from docs/README.md, and the pages of the root folder. The site has no list of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from address import address
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
ADR = "adr"


def on_config(config: Any) -> Any:
    """Set the navigation and the address."""
    config.repo_url = f"https://github.com/{address()}"
    config.nav = navigation((ROOT / "docs/README.md").read_text())
    return config


def navigation(index: str) -> list[Any]:
    """Navigation of the lists in `index`: a section for each, with the titles of its links."""
    parts = re.split(r"^([A-Z][^\n]*):$", index, flags=re.MULTILINE)
    sections = [{title: _pages(body)} for title, body in zip(parts[1::2], parts[2::2], strict=True)]
    return [{"Documents": "README.md"}, *sections]


def _pages(body: str) -> list[dict[str, str]]:
    links = re.findall(r"\[([^\]]+)\]\(([^)#]+\.md)[^)]*\)", body)
    pages = [{_capital(" ".join(title.split())): path.removeprefix("../")} for title, path in links]
    records = [{path.stem: f"{ADR}/{path.name}"} for path in sorted((ROOT / "docs" / ADR).glob("0*.md"))]
    return [*pages, *records] if any(path == f"{ADR}/README.md" for _, path in links) else pages


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root folder."""
    for name in ROOT_PAGES:
        text = re.sub(r"\]\(docs/", "](", (ROOT / name).read_text())
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to the pages of the root folder, as they stand in the site."""
    return re.sub(rf"\]\((?:\.\./)((?:\.\./)*(?:{'|'.join(map(re.escape, ROOT_PAGES))}))", r"](\1", markdown)
