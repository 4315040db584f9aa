"""How far methods get on spoilt queries, with little base data, with one modality, and at what cost.

``conditions`` names what is done to a query, ``spoilt_clips`` reads spoilt clips into features, ``outcomes`` asks every
method about the same episodes under every condition, ``scarcity`` trains on less, ``costs`` counts what an answer
takes, ``tables``, ``weighing`` and ``findings`` put the results in order and into words;
``reliability_diagram`` and ``confusion`` look at single answers.
"""
