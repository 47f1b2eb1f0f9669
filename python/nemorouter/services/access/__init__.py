"""Manage access: users, sign-in, passwords, sessions, invitations, management keys."""
