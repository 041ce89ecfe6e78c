"""A run as one HTML file that anybody can open: no server, no network, nothing to install.

`reading` gives a stored run's events as far as they can be read, `rows` puts together what belongs to one move,
`figures` adds up what the whole run came to, and `page` writes the file. All of it goes by once, as a stream.
"""
