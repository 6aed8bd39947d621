"""Composition roots: the processes BOute runs as; the only code that imports db."""
