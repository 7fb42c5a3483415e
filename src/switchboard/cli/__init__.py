"""The verbs of the command line: parse, call `cluster`, print. Each verb is one small file, imported only when it is
used.
"""
