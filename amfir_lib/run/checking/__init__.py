"""``./run_all.sh check``: the study is regenerated beside the committed one, and both are compared cell by cell.

``tolerances`` says by how much a number may differ and why, ``compare`` holds two tables against each other,
``folders`` two studies, ``verdict`` puts what was found into words and files, ``regenerate`` runs the notebooks.
"""
