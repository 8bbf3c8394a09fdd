"""Compiled forwards that start warm: packages of code that are built once and kept in a folder that is shared.

merged call -> ForwardShape -> Package in the CacheFolder -> compiled output
                            -> none yet: built by a process of its own meanwhile; the forward runs eagerly
"""
