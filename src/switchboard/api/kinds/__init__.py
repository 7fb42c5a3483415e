"""What differs between kinds: one small strategy per kind that needs one, in one table."""
