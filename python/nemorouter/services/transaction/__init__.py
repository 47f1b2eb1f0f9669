"""Run an action as one transaction with role check, rows, audit event and change."""
