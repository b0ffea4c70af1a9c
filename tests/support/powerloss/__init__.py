"""What a power cut may leave of what a real server wrote, and whether that is what was promised.

records     the log of the disk shim, and the marks that clients write between its records
remains     the files as they may stand after a cut
clients     load on a real server: what was asked, and what was acknowledged
audit       opens what is left, with the real code, and checks it
rounds      one round: load, kills, stops; then many cuts (``python -m powerloss``, ``make powerloss``)
"""
