"""Writes a run as one HTML file that anybody can open: no server, no network, nothing to install.

`reading` yields a stored run's events as far as they can be read, `rows` groups what belongs to one move, `figures`
sums up the whole run, and `page` writes the file. Everything is processed once, as a stream.
"""
