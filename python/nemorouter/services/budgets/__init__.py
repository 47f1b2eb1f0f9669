"""Budgets, prices, and the alerts that are posted when a budget is nearly spent."""
