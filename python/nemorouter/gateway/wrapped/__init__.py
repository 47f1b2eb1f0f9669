"""A wrapped app in the place of an upstream, on ASGI and on RSGI.

The app answers the client itself. Its own status, headers and body stay; ours are added, and the
client's credentials are taken away.
"""
