"""Container images without a container builder: written as OCI layouts, made from Debian packages and PyPI, put into
the mirror.
"""
