"""Compiled forwards that start warm: packages of code without weights, built once and kept in a shared folder.

    merged call -> ForwardShape -> Package in the CacheFolder -> compiled output
                                -> none yet: built by a process of its own meanwhile; the forward runs eagerly
"""
