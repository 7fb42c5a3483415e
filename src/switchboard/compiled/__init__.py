"""The way of a request as machine code: the modules that most of a request's time goes to are compiled by mypyc.

The sources stay the only ones: `build` makes extension modules of them in the Python environment (`.venv/compiled`,
never beside the sources), `load` lets them be imported in place of their sources for as long as those are what was
built. Where there is no build, or an old one, or no compiler, the same code runs interpreted.
"""
