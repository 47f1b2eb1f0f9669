"""Measures this installation: the gate against pure Python, the server against a handler that
answers a constant.

``nemorouter bench`` and the repository's ``benches`` share it. It must never touch a data directory
of the user.
"""
