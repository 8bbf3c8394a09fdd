"""Engines of several ranks on this machine's CPU: do they give the images of one device, and does nobody get lost?"""
