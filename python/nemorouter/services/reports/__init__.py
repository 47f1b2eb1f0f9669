"""Report what was asked, spent, refused and changed: usage, request log, audit log, overview."""
