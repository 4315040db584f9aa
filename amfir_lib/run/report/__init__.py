"""The report: ``index.html`` in the folder of a study, one page that can be mailed, from records and exports alone.

``story`` reads from a notebook what stands below which heading, ``prose`` turns Markdown into HTML, ``pictures`` puts
figures into the page, ``facts`` says what was run, ``claims`` and ``variants`` gather what their names say, ``page``
joins all, ``executed`` makes a light HTML page of each executed notebook, and ``guide_page`` one of the guide.  Order,
headings and captions come from the notebooks and their records; only ``numbers`` names figures and tables, to say which
table holds the numbers of which figure.
"""

from amfir_lib.run.report.page import write

__all__ = ["write"]
