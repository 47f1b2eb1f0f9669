"""What can be done to the store, one function an action: role check, row, audit event and change in
one transaction.

Command line, management API and dashboard are faces of these. The request path never imports them.
"""
