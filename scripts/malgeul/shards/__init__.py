"""The house: what every stage needs to lose nothing and to be run again.

``LAYOUT`` stands for this package in the key of every job. The modules here decide how work is recorded, not what comes
out of it, so that an edit to a progress bar does not start 77 hours of transcription; whoever changes the form of a
ledger, a journal or a table raises the number.
"""

LAYOUT = 1
