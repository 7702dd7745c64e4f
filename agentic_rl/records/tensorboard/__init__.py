"""A run as TensorBoard shows it: grouped names of metrics, settings, the figure of learning curves,
and the writer of event files.
"""
