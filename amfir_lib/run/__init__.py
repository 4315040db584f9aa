"""Everything around the computation: the command line, the runner, the report, checks, clearing up.

``command`` reads the options, ``plan`` says what is asked, by what ``notebooks`` declare, ``runner`` runs them one
after another: ``ledger`` says why, ``execute`` runs one in a process (``child``) and asks whether it is done.
``report`` and ``readme`` write from the results, ``check`` and ``compare`` hold two studies against each other,
``clean`` clears up, ``doctor`` looks at the environment, ``first_look`` at the names of real clips.
"""

import sys

# Of jsonschema, which nbformat uses: two seconds for a grammar of international addresses, which no notebook has.
sys.modules.setdefault("rfc3987_syntax", None)
