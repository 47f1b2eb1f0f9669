"""``nemorouter serve``: the master, its workers and the drainer's process."""
