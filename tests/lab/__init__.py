"""What benches and suites need around a real server: starting and stopping it, reading its costs, talking to it.

Python's standard library only. Loopback only. Ends only the processes it started, by their ids.
"""
