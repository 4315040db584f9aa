"""From runs to tables: answers, intervals, contrasts, claims, and one module per study."""
