"""LoRA adapters by request: read from files, kept in two caches, and computed for the rows that asked for them."""
