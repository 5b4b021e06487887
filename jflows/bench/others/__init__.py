"""Workers: the same maps by other libraries, each in a process of an environment that has the library.

A worker is a script that needs nothing of jflows. It reads one request in JSON from each line of its input, and writes
one answer; `serving.py` does so for all of them. A new library is one script here and one line of `beside.LIBRARIES`; a
new model of a library is one function under the name of a subject of `jflows/bench/suite.py`.
"""
