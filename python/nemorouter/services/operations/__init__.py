"""Operate an installation: set it up, check it, list its hosts and orgs."""
