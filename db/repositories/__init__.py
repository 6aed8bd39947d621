"""Repositories: the Protocols of `core.ports` over SQLAlchemy."""
