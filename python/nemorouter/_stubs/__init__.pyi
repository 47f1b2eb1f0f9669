"""Hold the parts of the stub of ``nemorouter._core``. Nothing of it exists at run time."""
