"""Records rendered to terminal, JSON, SVG and HTML."""
