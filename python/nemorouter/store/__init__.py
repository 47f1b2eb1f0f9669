"""The truth: SQLite (PostgreSQL later) behind SQLAlchemy Core. Never imported by the request path."""
