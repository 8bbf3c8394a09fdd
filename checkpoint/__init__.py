"""The bundled checkpoint's room: the scenes it learned, how it was trained, and how it is checked."""
