"""Admission: what may be stored, and what is added to it first. One visible list of plugins in `chain.py`."""
