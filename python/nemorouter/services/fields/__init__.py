"""Values that callers give, checked, and the views, pages and cursors that services answer."""
