"""Looking on: how far a run is and what the machine does (monitor), whether a machine can run it well (doctor).

Nothing here writes into results/. It reads what the wings leave and what ``report`` says of it; only its two scripts
import it.
"""
