"""One engine over several devices: a process a device, which share each forward.

The engine's process is rank 0. It starts the others, which hold the denoisers and nothing else, and tells them of each
forward. `rows` has each rank compute some of a forward's rows, `context` some of each row's tokens.
"""
