"""Keys, teams, users and orgs: what carries limits and budgets."""
