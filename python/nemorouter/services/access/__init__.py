"""Who may enter: users, sign-in, passwords, sessions, invitations, management keys."""
