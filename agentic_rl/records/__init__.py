"""What a run leaves on disk: its directory, log, checkpoints and TensorBoard files. Nothing else in
the package touches the disk.
"""
