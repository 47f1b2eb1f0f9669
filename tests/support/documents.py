"""The documents of the repository, and the blocks of the README."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


README = (ROOT / "README.md").read_text("utf-8")


REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")


DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benches" / "README.md"]
)


class Block(NamedTuple):
    """A fenced block: its language, the word after it, its text."""

    language: str
    label: str
    text: str


BLOCKS = [
    Block(*found) for found in re.findall(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", README, re.M | re.S)
]


EXAMPLES = {block.label: block.text for block in BLOCKS if block.language == "python"}


SERVERS = [line for block in BLOCKS if block.label == "serve" for line in block.text.splitlines()]
