"""Define what can be done to the store, one function an action.

An action is role check, rows, audit event and change in one transaction. Command line, management
API and dashboard are faces of the services. The request path never imports them.
"""
