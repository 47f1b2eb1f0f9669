"""The request path: credential, peek, admit, forward, settle, in that order and with no way back.

The pipeline alone knows the order. It must never import store, ledger, cluster, services or
control.
"""
