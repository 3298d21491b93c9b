"""What the documents name is there, and the pictures show the code as it is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "deploy" / "README.md"]
PATH = re.compile(
    r"`((?:accounts|rooms|messaging|config|static|templates|tests|deploy|docs|locale|"
    r"requirements)/[\w./-]*\w\.\w+)`"
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_is_there(document):
    named = PATH.findall(document.read_text())
    assert [path for path in named if not is_there(path)] == []


def is_there(path):
    """A table of OPERATIONS.md names tests by their paths in tests/."""
    return any((folder / path).exists() for folder in (ROOT, ROOT / "tests"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(document):
    linked = LINK.findall(document.read_text())
    assert [path for path in linked if not (document.parent / path).exists()] == []


def test_the_documents_name_files_and_link():
    texts = [document.read_text() for document in DOCUMENTS]
    assert sum(len(PATH.findall(text)) for text in texts) > 50
    assert sum(len(LINK.findall(text)) for text in texts) > 10


def test_the_pictures_are_what_the_code_is():
    draw = [sys.executable, ROOT / "docs" / "pictures" / "draw.py"]
    done = subprocess.run([*draw, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stderr}: run draw.py"
