"""What the benchmark and the fault bench write into docs/: tables and pictures."""

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = DOCS / "pictures"
GREEN, GREY, RED = "#00734c", "#8a8f98", "#b4532a"


def table(names, rows):
    """A table of Markdown; all but its first column are numbers."""
    lines = [" | ".join(names), " | ".join(["---"] + ["---:"] * (len(names) - 1))]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def picture(name, draw, height=4.2):
    """Write docs/pictures/`name`.svg, `height` inches high, as `draw(axes)` draws."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, height))
    axes.grid(alpha=0.25)
    draw(axes)
    figure.tight_layout()
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
