"""Scenario files: a whole planning problem in one YAML, no database needed."""
