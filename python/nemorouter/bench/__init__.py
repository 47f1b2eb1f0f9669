"""Measure this installation: the gate against pure Python, the server against a bare handler.

``nemorouter bench`` and the repository's ``benches`` share this package. It never opens a data
directory of the user.
"""
