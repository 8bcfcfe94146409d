"""Development tests of a packed model, on material that training never hears, and the search for its detector.

Read `material.py` (what is heard) -> `scenes.py` (words put into streams) -> `listening.py` (what a model makes of it)
-> `parts.py` (the tests) -> `__main__.py` (the command); `figures.py` has shares and rates with their intervals, and
`defaults.py` the search for the detector's settings.
"""
