"""LoRA adapters by request: what they cost in a forward, and whether each of thousands of requests gets its own."""
