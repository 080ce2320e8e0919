"""A PyTorch library that trains recurrent CTC phoneme decoders on intracortical recordings.

Importing the package loads nothing heavy; its modules are imported by name, for instance
``from decoder.train import train``.
"""
