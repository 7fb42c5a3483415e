"""Keys and certificates of one cluster: planned in a literal table, made once, checked cheaply ever after."""
