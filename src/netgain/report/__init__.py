"""Records to terminal, JSON, CSV, SVG and HTML. Numbers come in as they were proved; nothing is computed here."""
