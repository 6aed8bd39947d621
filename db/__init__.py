"""State in a SQL database: SQLite or PostgreSQL."""
