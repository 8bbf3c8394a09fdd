"""The engine in a process of its own: what it is told, what it tells, and who watches it.

engine_process (the server's)  submit, cancel ──> connection ──>  served_engine (the worker's)  Engine
                               result, event  <──            <──
"""
