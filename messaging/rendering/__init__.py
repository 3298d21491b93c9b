"""Messages as HTML: Markdown in, clean HTML out."""
