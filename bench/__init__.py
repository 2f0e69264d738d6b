"""Load relayd, and HAProxy beside it, with raw sockets and ready-made frames.

``python -m bench`` runs every row; ``README.md`` beside this file says what each row measures,
what bounds the figures, and how to read the table.
"""
