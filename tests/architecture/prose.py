"""Reading of Markdown: headings with their anchors, links, and the sentences of its prose."""

from __future__ import annotations

import re
from pathlib import Path

FENCE = re.compile(r"^(```+|~~~+).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|(?<=\n\n))(?: {4}.*\n?|\n(?= {4}))+")
LINK = re.compile(r"!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
END = re.compile(r"(?<=[.!?:;])[\"')\]]*\s+(?=[A-Z`\"'(\[0-9*])|(?<=:)\s*\n")
ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|etc|vs|No|Fig)\.")


def without_code(text: str) -> str:
    """`text` without blocks of code. Code within a line stays."""
    return re.sub(r"<!--.*?-->", "", INDENTED.sub("\n", FENCE.sub("", text)), flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub and MkDocs make them."""
    seen: dict[str, int] = {}
    names = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for title in re.findall(r"^#{1,6} (.+?)\s*#*$", FENCE.sub("", text), re.MULTILINE):
        plain = LINK.sub(lambda link: link["text"], title).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        names.add(f"{slug}-{number}" if number else slug)
    return names


def links(text: str) -> list[str]:
    """Targets of the links and images outside of code."""
    return [link["target"] for link in LINK.finditer(re.sub(r"`[^`\n]*`", "", without_code(text)))]


def broken_links(page: Path) -> list[str]:
    """Relative links of `page` that lead to no file, or to no heading of a Markdown file."""
    broken = []
    for target in links(page.read_text()):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = page.parent / path if path else page
        is_broken = not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()))
        broken += [target] if is_broken else []
    return broken


def sentences(text: str) -> list[str]:
    """Sentences of paragraphs and list items, without code, tables and headings."""
    blocks, block = [], list[str]()
    for line in [*without_code(text).splitlines(), ""]:
        is_item = re.match(r"\s*([-*]|\d+\.) ", line)
        if not line.strip() or is_item or re.match(r"\s*[|#>]|\[[^\]]+\]: ", line):
            blocks.append(" ".join(block))
            block = []
        if line.strip() and not re.match(r"\s*[|#]|\[[^\]]+\]: ", line):
            block.append(re.sub(r"^\s*([-*>]|\d+\.) ", "", line).strip())
    joined = (LINK.sub(lambda link: link["text"], block) for block in [*blocks, " ".join(block)])
    found = [part.strip() for text in joined for part in END.split(ABBREVIATIONS.sub(r"\1", text))]
    return [part for part in found if words(part) > 2]


def words(sentence: str) -> int:
    """Number of words. A piece of code is one word."""
    return len(re.sub(r"`[^`]*`", "code", sentence).split())
