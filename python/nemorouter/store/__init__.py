"""The truth: SQLite or PostgreSQL behind SQLAlchemy Core. Never imported by the request path."""
