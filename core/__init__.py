"""BOute's engine: everything below the browser."""
