"""`tickbay backup` and `tickbay restore`: what the databases and the journal hold, in files of a folder.

A backup is cut into parts (a day of a table, a file of data_dir), each a compressed file named by its checksum, and a
manifest that is replaced last: it is always of one whole backup. The next one into the same folder writes only what has
changed since. command.py: the commands; folder.py: the files; store.py: what is asked of a store; timescale.py,
questdb.py, journal.py: the stores; reach.py: does the journal reach back to it?

BACKUP-1: a backup holds exactly the rows up to the cursors that it holds, so a restored database goes on from there,
          and no row is lost or stored twice.
"""
