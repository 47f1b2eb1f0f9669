"""Change the product one place at a time, and look whether a test notices."""
