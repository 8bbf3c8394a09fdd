"""The engine's process is ended at random moments under load: what do clients see, and what is left behind?"""
