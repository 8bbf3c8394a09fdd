"""What the batching policy gives and costs: by an event simulation, and by the engine itself."""
