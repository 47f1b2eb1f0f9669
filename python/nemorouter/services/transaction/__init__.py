"""What every action consists of: one transaction with role check, rows, audit event and change."""
